// What a consumer holds of its queue, one delivery at a time.
import type { Acks } from './rascal/acks.ts';
import type { AckOrNack, RascalMessage } from './rascal/rascal.ts';

export interface Delivery {
  message: RascalMessage;
  /** Settled alone, by Rascal: once, and not after the connection is lost. */
  ackOrNack: AckOrNack;
  /** Acknowledges by range; absent where the session has no channel to do so on. */
  acks: Acks | undefined;
  /** Aborts when this delivery is lost or about to be, or the consumer stops: do not wait any longer. */
  signal: AbortSignal;
  /** The broker delivers it again. */
  lost: AbortSignal;
  /** Handled while this process holds no other. */
  isAlone: boolean;
  /** On its way to a delay queue, the dead-letter queue, or the end of its queue. */
  isForwarded: boolean;
  /** Settles when it is not being handled any more. */
  done?: Promise<unknown>;
}

/** To the broker, which delivers it to another replica, or later. Not a retry. */
export function requeue({ ackOrNack }: Pick<Delivery, 'ackOrNack'>): void {
  ackOrNack(new Error('not handled by this consumer'), [{ strategy: 'nack', requeue: true }]);
}
