// Deliveries of a session: how they arrive, and what a consumer keeps of each until it is settled.
import type { Acks } from './rascal/acks.ts';
import type { AckOrNack, RascalMessage, RascalSession } from './rascal/rascal.ts';

export interface Delivery {
  message: RascalMessage;
  /** Settles this delivery alone, through Rascal: once, and not after the connection is lost. */
  ackOrNack: AckOrNack;
  /** Acks by range; undefined if the session has no channel for that. */
  acks: Acks | undefined;
  /** Aborts when this delivery is lost or about to be, or the consumer stops: stop waiting. */
  signal: AbortSignal;
  /** Aborts when the connection is lost: the broker redelivers. */
  lost: AbortSignal;
  stage: Stage;
  /** Settles when it is not being handled any more. */
  done?: Promise<unknown>;
}

/**
 * `held`: waits for its batch, or is handled in one. `alone`: handled while this process holds no other delivery.
 * `leaving`: being published to a delay queue, to the dead-letter queue, or back to its queue.
 */
export type Stage = 'held' | 'alone' | 'leaving';

/**
 * Calls `take` with every delivery of a session. Those that Rascal cannot decode come, too: their consumer judges them as it does
 * all others.
 */
export function onDelivery(
  session: RascalSession,
  take: (message: RascalMessage, ackOrNack: AckOrNack) => void,
): void {
  session.on('message', (message: RascalMessage, _content: unknown, ackOrNack: AckOrNack) =>
    take(message, ackOrNack),
  );
  session.on('invalid_content', (_error: Error, message: RascalMessage, ackOrNack: AckOrNack) =>
    take(message, ackOrNack),
  );
}

/** Aborts when a session has lost its channel. The broker requeues its deliveries, and Rascal reports an ack of one as an error. */
export function lossOf(session: RascalSession): AbortSignal {
  const lost = new AbortController();
  for (const event of ['error', 'close', 'cancel']) session.on(event, () => lost.abort());
  return lost.signal;
}

/** Returns a delivery to the broker, which redelivers it to another replica, or later. Not a retry. */
export function requeue({ ackOrNack }: Pick<Delivery, 'ackOrNack'>): void {
  ackOrNack(new Error('not handled by this consumer'), [{ strategy: 'nack', requeue: true }]);
}
