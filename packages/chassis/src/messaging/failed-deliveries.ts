// Moves deliveries that were not handled: to a delay queue, to the dead-letter queue, or back to their queue. The original is acked
// when its copy is confirmed, and not before.
import { backoff } from '../backoff.ts';
import { pause } from '../concurrency.ts';
import type { Log } from '../context.ts';
import { type Delivery, requeue } from './deliveries.ts';
import { attemptsOf, type FailedMessagePublisher, type Failure } from './failed-message-publisher.ts';
import { PublishError } from './publisher.ts';
import type { RetryDelay } from './retry-delays.ts';

export interface FailedOptions {
  queue: string;
  failedMessages: FailedMessagePublisher;
  retryDelays: readonly RetryDelay[];
  log: Log;
  count: (outcome: 'retried' | 'dead') => void;
  /** The connection is lost: the broker redelivers it. */
  forget: (delivery: Delivery) => void;
}

/** ms between attempts to publish. */
const DELAYS = { min: 100, max: 5_000 };

export class FailedDeliveries {
  readonly #options: FailedOptions;

  constructor(options: FailedOptions) {
    this.#options = options;
  }

  /** Moves a delivery to the next delay queue, or after the last one to the dead-letter queue. */
  async fail(delivery: Delivery, failure: Failure, log: Log): Promise<void> {
    const { queue, failedMessages, retryDelays, count } = this.#options;
    const { message } = delivery;
    const attempts = attemptsOf(message);
    const delay = retryDelays[attempts];
    if (delay === undefined) return this.deadLetter(delivery, failure, log);
    if (!(await this.#move(delivery, log, () => failedMessages.retry(message, queue, delay, failure))))
      return;
    count('retried');
    const fields = { err: failure.error, queue, attempt: attempts + 1, delay: delay.name };
    log.warn(fields, 'event handler failed; retrying later');
  }

  async deadLetter(delivery: Delivery, failure: Failure, log: Log): Promise<void> {
    const { queue, failedMessages, count } = this.#options;
    const { message } = delivery;
    if (!(await this.#move(delivery, log, () => failedMessages.deadLetter(message, queue, failure)))) return;
    count('dead');
    // `Producers` has logged it, at a bounded rate: a forger must not fill the log.
    if (failure.reason === 'forged') return;
    const { messageId } = message.properties;
    log.error({ err: failure.error, queue, reason: failure.reason, messageId }, 'dead-lettered');
  }

  /**
   * Publishes the copy, again and again, and then acks the original.
   * @returns whether it was moved; otherwise the broker has it again
   */
  async #move(delivery: Delivery, log: Log, publish: () => Promise<void>): Promise<boolean> {
    const { ackOrNack, signal } = delivery;
    const delays = backoff(DELAYS);
    for (;;) {
      try {
        await publish();
        break;
      } catch (error) {
        // A missing exchange, binding or permission is not the message's fault: it is retried until that is fixed.
        if (error instanceof PublishError && error.isAboutTheMessage) {
          log.error({ err: error }, 'cannot publish a failed message; rejected to its dead-letter queue');
          ackOrNack(error, [{ strategy: 'nack' }]);
          return false;
        }
        await pause(delays.next(), signal);
        if (!signal.aborted) continue;
        requeue(delivery);
        return false;
      }
    }
    ackOrNack();
    return true;
  }

  /**
   * Publishes a delivery to the end of its queue: a requeue would count against the message (up to RabbitMQ 4.2). If the broker
   * does not take it, it is requeued all the same.
   * @returns whether it was published
   */
  async return(delivery: Delivery): Promise<boolean> {
    const { queue, failedMessages, log, forget } = this.#options;
    const { message, ackOrNack, signal, lost } = delivery;
    const delays = backoff(DELAYS);
    while (!lost.aborted) {
      try {
        await failedMessages.requeue(message, queue);
        ackOrNack();
        return true;
      } catch (error) {
        if (error instanceof PublishError && error.reason !== 'lost') {
          log.warn({ err: error, queue }, 'cannot publish a delivery back to its queue; requeueing it');
          requeue(delivery);
          return false;
        }
        await pause(delays.next(), signal);
        if (!signal.aborted) continue;
        requeue(delivery);
        return false;
      }
    }
    forget(delivery);
    return false;
  }
}
