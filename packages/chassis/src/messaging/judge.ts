// Whether a message can be handled at all. Judged on arrival, not when its batch begins: a message that is returned to its queue is
// published under this service's name.
import { type CloudEvent, ContractError, parseEvent } from '@warren/events';
import { asError } from '../errors.ts';
import { deliveriesOf, type Failure, publishedAt } from './failed-message-publisher.ts';
import type { BoundHandler } from './handlers.ts';
import type { Producers } from './producers.ts';
import type { RascalMessage } from './rascal/rascal.ts';

export type Verdict = { kind: 'handle'; event: CloudEvent } | { kind: 'dead-letter'; failure: Failure };

export interface JudgeOptions {
  queue: string;
  /** Versions of one event type, each with its handler. */
  handlers: readonly BoundHandler[];
  /** Of a message that is never settled: after it, the message counts as one that crashes its consumer. */
  deliveryLimit: number;
  producers: Producers;
  /** ms; the inbox may have forgotten an older event. */
  retention: number;
  now: () => Date;
}

/** The producer is checked first: nothing else of a forged message is read. */
export function judge(message: RascalMessage, options: JudgeOptions): Verdict {
  const { producers, queue, handlers, deliveryLimit } = options;
  const at = options.now();
  const forged = producers.refuseEvent(message, queue, handlers[0]?.event.from as string);
  if (forged !== undefined) return { kind: 'dead-letter', failure: { reason: 'forged', error: forged, at } };
  try {
    if (deliveriesOf(message) > deliveryLimit) {
      const error = new Error(`it was delivered more than ${deliveryLimit} times without being settled`);
      return { kind: 'dead-letter', failure: { reason: 'delivery_limit', error, at } };
    }
    return { kind: 'handle', event: parse(message, options) };
  } catch (error) {
    const reason = error instanceof ContractError ? error.code : 'expired';
    return { kind: 'dead-letter', failure: { reason, error: asError(error), at } };
  }
}

/** @throws {ContractError}, or {Error} if the event is too old */
function parse(message: RascalMessage, { handlers, retention, now }: JudgeOptions): CloudEvent {
  const event = parseEvent(
    message.content,
    handlers.map(({ event }) => event),
    publishedAt(message, now()),
  );
  if (!(Date.parse(event.time) >= now().getTime() - retention))
    throw new Error(`the event of ${event.time} is older than the inbox remembers`);
  return event;
}
