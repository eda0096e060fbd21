// Who did what to whose data: one line, always of the same fields, with ids and nothing else of a person.
import type { Logger } from '../context.ts';
import { Problem } from '../errors.ts';
import type { Deed } from './access.ts';
import type { Caller } from './caller.ts';

export interface Audited {
  caller: Caller;
  deed: Deed;
  /** e.g. `DELETE /sessions/:id`, or `user.find` */
  action: string;
  /** Of the data; undefined where nobody was named. */
  owners: readonly string[] | undefined;
}

/**
 * Writes the line of what was done, or refused with 403. What users read of their own data is not worth one.
 * @param outcome a status, or what was thrown
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
      owners: owners.slice(0, MOST),
      outcome: isDone ? 'done' : 'refused',
    },
    'audit',
  );
}

/** Owners in one line. */
const MOST = 100;
