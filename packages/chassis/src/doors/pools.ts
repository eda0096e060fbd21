import type pg from 'pg';
import type { Adapter } from './adapter.ts';

/** The pools of pg adapters. */
const pools = new WeakMap<object, pg.Pool>();

/** Lets consumers pipeline their statements on the pool of an adapter. */
export function onPool<Handle>(adapter: Adapter<Handle>, pool: object): Adapter<Handle> {
  pools.set(adapter, pool as pg.Pool);
  return adapter;
}

export const poolOf = (adapter: object): pg.Pool | undefined => pools.get(adapter);
