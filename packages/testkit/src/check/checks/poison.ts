import { randomUUID } from 'node:crypto';
import type { Check } from '../check.ts';
import type { Context } from '../context.ts';
import type { Draft, Envelope } from '../draft.ts';
import { reportLetterFaults } from '../letters.ts';

/** Each message with the reason that the dead letter has to name. */
interface Poison {
  draft: Draft;
  reason: string;
}

export const poison: Check = {
  name: 'poison',
  demands:
    'A message that is not JSON, not UTF-8, not a CloudEvent, of another type or version, with invalid data, an invalid time, or older than the inbox remembers goes to `QUEUE.dlq` at once: with the same body byte for byte, its properties and headers, and `x-warren-reason`, `-error`, `-attempts`, `-queue`, `-first-failed-at`, `-last-failed-at`, `-exchange` and `-routing-key`. The events before and after it are handled.',
  why: 'A message that can never be handled must not block the queue, be retried in vain, or disappear.',
  async run(context) {
    const poisons = poisonsOf(context);
    const neighbours = [
      context.draft('the event before the poison'),
      context.draft('the event after the poison'),
    ];
    const [before, after] = neighbours as [Draft, Draft];
    await context.publish(before, ...poisons.map(({ draft }) => draft), after);
    await context.haveOneEffect(neighbours);
    const letters = await context.areDead(poisons.map(({ draft }) => draft));
    for (const [draft, letter] of letters) {
      const { reason } = poisons.find((each) => each.draft === draft) as Poison;
      reportLetterFaults(context, draft, letter, [reason]);
    }
  },
};

/** 9 September 2001. */
const LONG_AGO = new Date(1_000_000_000_000);

function poisonsOf(context: Context): Poison[] {
  const { type, version } = context.subject.event;
  const body = (
    what: string,
    reason: string,
    content: (content: Buffer, event: Envelope) => Buffer,
  ): Poison => ({
    draft: context.draft(what, { content }),
    reason,
  });
  const event = (what: string, reason: string, change: Envelope): Poison => ({
    draft: context.draft(what, { event: (whole) => ({ ...whole, ...change }) }),
    reason,
  });
  return [
    body('half of an event', 'not_json', (content) => content.subarray(0, content.length / 2)),
    body('a body that is not UTF-8', 'not_json', (content) =>
      Buffer.concat([content, Buffer.from([0xc3, 0x28, 0])]),
    ),
    body('an empty body', 'not_json', () => Buffer.alloc(0)),
    body('JSON that is not a CloudEvent', 'not_cloudevent', () =>
      Buffer.from(`{"hello": "${randomUUID()}"}`),
    ),
    event('an event of another type', 'unknown_type', { type: 'contract.kit' }),
    event('an event of an unknown version', 'unknown_version', {
      dataschema: `urn:warren:${type}:v${version + 97}`,
    }),
    event('an event with data that is a text', 'invalid_data', { data: randomUUID() }),
    ...invalidData(context),
    event('an event with an invalid time', 'invalid_attribute', { time: 'yesterday' }),
    {
      draft: context.draft('an event from the year 2001', {
        event: (whole) => ({ ...whole, time: LONG_AGO.toISOString() }),
        properties: { timestamp: LONG_AGO.getTime() / 1_000 },
      }),
      reason: 'expired',
    },
  ];
}

/** An event without its first required field, as far as the contract is known. */
function invalidData(context: Context): Poison[] {
  const data = context.subject.event.sample as Envelope;
  const isRequired = (name: string) => context.validateData?.({ ...data, [name]: undefined }) !== undefined;
  const field = Object.keys(data).find(isRequired);
  if (field === undefined) return [];
  const changed = context.draft(`an event without the field data.${field}`, {
    event: (event) => ({ ...event, data: { ...(event.data as object), [field]: undefined } }),
  });
  return [{ draft: changed, reason: 'invalid_data' }];
}
