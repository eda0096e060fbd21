import type { Log } from '../context.ts';
import { Availability } from '../database/availability.ts';
import { probeDatabase } from '../database/probe.ts';
import { sendOn, transact } from './abortable-transaction.ts';
import type { Adapter } from './adapter.ts';

/** Whether the database behind an adapter can be used. */
export const availabilityOf = <Handle>(adapter: Adapter<Handle>, log: Log): Availability =>
  new Availability({
    probe: (space, signal) =>
      probeDatabase(
        (run, aborting) => transact(adapter, ({ query }) => run(sendOn(query)), aborting),
        space,
        signal,
      ),
    log,
  });
