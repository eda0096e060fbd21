// What a failed message looks like: its body and properties stay, and headers say why it failed.
import type { Recorded } from '../rabbitmq/probe.ts';
import type { Context } from './context.ts';
import type { Draft } from './draft.ts';

export const ATTEMPTS = 'x-warren-attempts';

const TEXTS = ['x-warren-error', 'x-warren-queue', 'x-warren-exchange', 'x-warren-routing-key'] as const;
const TIMES = ['x-warren-first-failed-at', 'x-warren-last-failed-at'] as const;
/** Characters of `x-warren-error`. */
const LONGEST_ERROR = 1_000;

/**
 * Reports what is wrong with a dead letter.
 * @param reasons values of `x-warren-reason` that are right
 * @param attempts how often it has failed
 */
export function reportLetterFaults(
  context: Context,
  draft: Draft,
  letter: Recorded,
  reasons: readonly string[],
  attempts = 1,
): void {
  const { queue, user } = context.subject;
  const { headers = {}, userId, deliveryMode } = letter.properties;
  const report = (fault: string) => context.fault(`${draft.what}, dead-lettered: ${fault}`);
  if (headers['x-warren-reason'] === undefined && headers['x-death'] !== undefined) {
    report(
      'the broker moved it, so nothing says why; publish it to SERVICE.return with the reason, then acknowledge it',
    );
    return;
  }
  for (const fault of [...sameMessage(draft, letter), ...headerFaults(headers, queue)]) report(fault);
  const reason = headers['x-warren-reason'];
  if (!reasons.includes(reason))
    report(`x-warren-reason is ${reason ?? 'missing'}; expected ${reasons.join(' or ')}`);
  if (headers[ATTEMPTS] !== attempts)
    report(`${ATTEMPTS} is ${headers[ATTEMPTS] ?? 'missing'}; expected ${attempts}`);
  if (userId !== user) report(`user-id is ${userId ?? 'missing'}; expected ${user}`);
  if (deliveryMode !== 2) report('it is not persistent');
  const retries = context.watches.retries.of(draft).length;
  if (attempts === 1 && retries > 0) report(`it was retried ${retries} times before; it can never succeed`);
  const copies = context.lettersOf(draft).length;
  if (copies > 1) report(`it is in ${queue}.dlq ${copies} times`);
}

function headerFaults(headers: Record<string, unknown>, queue: string): string[] {
  const faults: string[] = [];
  for (const name of TEXTS)
    if (typeof headers[name] !== 'string' || headers[name] === '') faults.push(`${name} is missing`);
  for (const name of TIMES)
    if (!isUtc(headers[name])) faults.push(`${name} has to be a time of ISO 8601 in UTC`);
  if (String(headers['x-warren-error'] ?? '').length > LONGEST_ERROR)
    faults.push(`x-warren-error has more than ${LONGEST_ERROR} characters`);
  if (headers['x-warren-queue'] !== undefined && headers['x-warren-queue'] !== queue)
    faults.push(`x-warren-queue is ${headers['x-warren-queue']}; expected ${queue}`);
  return faults;
}

const isUtc = (value: unknown): boolean =>
  typeof value === 'string' && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)$/.test(value);

/** Properties that stay as they were published. */
const KEPT = ['messageId', 'type', 'appId', 'correlationId', 'contentType', 'timestamp'] as const;

/** What differs from the message as it was published, in body, properties or headers of its own. */
export function sameMessage({ content, properties }: Draft, copy: Recorded): string[] {
  const faults: string[] = [];
  if (!copy.content.equals(content)) faults.push('its body is not the same byte for byte');
  for (const name of KEPT)
    if (properties[name] !== undefined && copy.properties[name] !== properties[name])
      faults.push(
        `the property ${name} is ${copy.properties[name] ?? 'missing'}; expected ${properties[name]}`,
      );
  for (const [name, value] of Object.entries(properties.headers ?? {}))
    if (copy.properties.headers?.[name] !== value) faults.push(`its header ${name} is missing`);
  return faults;
}
