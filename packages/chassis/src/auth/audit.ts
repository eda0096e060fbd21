// The audit log: who did what to whose data. Lines have fixed fields, and ids as the only personal data.
import type { Logger } from '../context.ts';
import { Problem } from '../errors.ts';
import type { Deed } from './access.ts';
import type { Caller } from './caller.ts';

export interface Audited {
  caller: Caller;
  deed: Deed;
  /** e.g. `DELETE /sessions/:id`, or `user.find` */
  action: string;
  /** Owners of the data; undefined if none was named. */
  owners: readonly string[] | undefined;
}

/**
 * Logs an action that was done, or refused with 403. Users who read their own data are not logged.
 * @param outcome a status, or the thrown error
 */
export function audit(log: Logger, { caller, deed, action, owners = [] }: Audited, outcome: unknown): void {
  const { kind, subject = null } = caller;
  const isRefused = outcome instanceof Problem ? outcome.status === 403 : false;
  const isDone = typeof outcome === 'number' && outcome < 400;
  if (!isRefused && !isDone) return;
  if (isDone && deed === 'read' && owners.every((owner) => owner === subject) && kind !== 'operator') return;
  log.info(
    {
      actor: subject,
      role: kind,
      action,
      owners: owners.slice(0, MAX_OWNERS_LOGGED),
      outcome: isDone ? 'done' : 'refused',
    },
    'audit',
  );
}

const MAX_OWNERS_LOGGED = 100;
