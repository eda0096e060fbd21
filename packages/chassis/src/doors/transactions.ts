// Transactions that a door has opened itself. Of a handle of any other, `emit` checks that it is in a transaction.
import type { Adapter } from './adapter.ts';

const open = new WeakSet<object>();

/** Runs `run` in a transaction of the adapter, whose handle counts as open until `run` has settled. */
export function inTransaction<Handle, Result>(
  adapter: Adapter<Handle>,
  run: (handle: Handle) => Promise<Result>,
): Promise<Result> {
  return adapter.transaction(async (handle) => {
    const known = handle as object;
    open.add(known);
    try {
      return await run(handle);
    } finally {
      open.delete(known);
    }
  });
}

export const isKnownOpen = (handle: unknown): boolean => open.has(handle as object);
