import type { Recorded } from '../../rabbitmq/probe.ts';
import type { Check } from '../check.ts';
import { type Context, NotChecked } from '../context.ts';
import type { Draft } from '../draft.ts';
import { ATTEMPTS, reportLetterFaults, sameMessage } from '../letters.ts';
import { dataOf, varied } from '../sample.ts';

/** The TTL has a fifth more or less than its level; this much is tolerated. */
const JITTER = 0.25;

export const failing: Check = {
  name: 'failing',
  demands:
    'An event whose handler fails waits in each delay queue in turn: published to `SERVICE.retry` with the level as key, `CC: [QUEUE]`, an `expiration` of the level with up to a fifth more or less, the same body, and `x-warren-attempts` counting from 1. After the last level it is dead-lettered as `handler_failed`. Meanwhile other events are handled. Needs `--failing`.',
  why: 'Most failures pass. A consumer that requeues at once spins; one that waits in the queue blocks everything behind it.',
  async run(context) {
    const { failing: sample, keep } = context.options;
    if (sample === undefined)
      throw new NotChecked('give --failing FILE with data for which the handler of the service fails');
    if (context.subject.levels.length === 0)
      throw new NotChecked('the service has no delay queues: see topology');
    const data = varied(dataOf(sample), keep);
    const draft = context.draft('the event whose handler fails', { data });
    await context.publish(draft);
    await context.handlesOneMore();
    const wait = context.subject.levels.reduce((sum, { ms }) => sum + ms * (1 + JITTER), context.timeout);
    const [found] = await context.areDead([draft], wait);
    reportRetries(context, draft);
    if (found === undefined) return;
    const [, letter] = found;
    reportLetterFaults(context, draft, letter, ['handler_failed'], context.subject.levels.length + 1);
  },
};

function reportRetries(context: Context, draft: Draft): void {
  const { levels, queue } = context.subject;
  const retries = context.watches.retries.of(draft);
  const seen = retries.map(({ fields }) => fields.routingKey);
  const wanted = levels.map(({ name }) => name);
  if (seen.join() !== wanted.join())
    context.fault(`it waited in ${seen.join(', ') || 'no delay queue'}; expected ${wanted.join(', ')}`);
  for (const [index, retry] of retries.entries()) {
    const faults = [...retryFaults(retry, { attempt: index + 1, queue }), ...sameMessage(draft, retry)];
    const level = levels.find(({ name }) => name === retry.fields.routingKey);
    const ttl = Number(retry.properties.expiration);
    if (level !== undefined && !(Math.abs(ttl - level.ms) <= level.ms * JITTER))
      faults.push(`expiration is ${retry.properties.expiration ?? 'missing'}; expected about ${level.ms} ms`);
    for (const fault of faults) context.fault(`retry ${index + 1}: ${fault}`);
  }
}

function retryFaults(
  { properties: { headers = {}, userId, deliveryMode } }: Recorded,
  { attempt, queue }: { attempt: number; queue: string },
): string[] {
  const faults: string[] = [];
  const { CC: copies, [ATTEMPTS]: attempts } = headers;
  if (!Array.isArray(copies) || copies.length !== 1 || copies[0] !== queue)
    faults.push(`the header CC is ${JSON.stringify(copies) ?? 'missing'}; expected ["${queue}"]`);
  if (attempts !== attempt) faults.push(`${ATTEMPTS} is ${attempts ?? 'missing'}; expected ${attempt}`);
  if (userId === undefined) faults.push('user-id is missing, so the service would refuse its own retry');
  if (deliveryMode !== 2) faults.push('it is not persistent');
  return faults;
}
