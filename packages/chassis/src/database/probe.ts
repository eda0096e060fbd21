// A transaction that shows whether the database is usable: reachable, responding, writable, with free disk space.
import { randomUUID } from 'node:crypto';
import { abortable } from '../concurrency.ts';
import { sqlStateOf } from './outage.ts';
import type { Send } from './statements.ts';

/** ms */
const PROBE_TIMEOUT_MS = 5_000;
/** Rows of the inbox that are written, and rolled back, to see whether there is room: about 200 KiB with their index. */
const ROWS = 1_000;
const INSUFFICIENT_PRIVILEGE = '42501';

/** Runs `run` in one transaction; aborting the signal ends it. */
type Transact = (run: (send: Send) => Promise<void>, signal: AbortSignal) => Promise<void>;

/** @throws the reason why the database is not usable: the error of the transaction, read-only, or no response */
export async function probeDatabase(transact: Transact, space: boolean, closing: AbortSignal): Promise<void> {
  const late = AbortSignal.timeout(PROBE_TIMEOUT_MS);
  const signal = AbortSignal.any([late, closing]);
  await abortable(
    transact((send) => probe(send, space), signal),
    signal,
  ).catch((error) => {
    if (error instanceof RolledBack) return;
    if (late.aborted)
      throw new Error(`the database did not respond within ${PROBE_TIMEOUT_MS / 1_000} s`, { cause: error });
    throw error;
  });
}

async function probe(send: Send, space: boolean): Promise<void> {
  const { rows } = await send({
    text: `select current_setting('transaction_read_only') = 'off' as writable`,
  });
  if (rows[0]?.writable !== true) throw new ReadOnlyError('the database is read-only');
  if (!space) return;
  await send({
    text: `
      insert into warren.inbox (consumer, message_id)
      select 'warren.probe', gen_random_uuid() from generate_series(1, ${ROWS})`,
  });
  // A new table needs new blocks, also if the inbox has free space inside its own; unless this role may not create tables.
  await send({
    text: `
      create table warren."probe_${randomUUID()}" as
      select n, repeat('x', 1000) as filling from generate_series(1, 200) n`,
  }).catch((error) => {
    if (sqlStateOf(error) !== INSUFFICIENT_PRIVILEGE) throw error;
  });
  throw new RolledBack();
}

class RolledBack extends Error {}

class ReadOnlyError extends Error {
  readonly code = '25006';
}
