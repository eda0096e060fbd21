import type { Log } from '../context.ts';
import { pruneInbox } from '../inbox/inbox.ts';
import type { Adapter } from './adapter.ts';
import { statementsOn } from './work.ts';

export interface Pruning {
  start(): void;
  stop(): void;
}

const PRUNE_INTERVAL_MS = 600_000;
/** The inbox keeps ids for longer than events are accepted, in case the clocks of producers differ. */
const CLOCK_SKEW_MARGIN_MS = 86_400_000;

/** Deletes what the inbox need not remember any more. @param retention ms */
export function pruneRegularly<Handle>(adapter: Adapter<Handle>, retention: number, log: Log): Pruning {
  let timer: NodeJS.Timeout | undefined;
  const prune = () =>
    pruneInbox(statementsOn(adapter), retention + CLOCK_SKEW_MARGIN_MS).catch((error) =>
      log.debug({ err: error }, 'cannot prune the inbox; retrying later'),
    );
  return {
    start() {
      if (timer !== undefined) return;
      timer = setInterval(() => void prune(), PRUNE_INTERVAL_MS);
      timer.unref();
    },
    stop() {
      clearInterval(timer);
      timer = undefined;
    },
  };
}
