// What becomes of a delivery that was not handled: it goes to a delay queue, to the dead-letter queue, or back to the end of its
// queue. The original is acknowledged when its copy is confirmed, and not before.
import { backoff } from '../backoff.ts';
import { pause } from '../concurrency.ts';
import type { Logger } from '../context.ts';
import { type Delivery, requeue } from './deliveries.ts';
import { attemptsOf, type FailedMessagePublisher, type Failure } from './failed-message-publisher.ts';
import { PublishError } from './publisher.ts';
import type { RetryDelay } from './retry-delays.ts';

export interface FailedOptions {
  queue: string;
  failedMessages: FailedMessagePublisher;
  retryDelays: readonly RetryDelay[];
  log: Logger;
  count: (outcome: 'retried' | 'dead') => void;
  /** The broker has it back. */
  forget: (delivery: Delivery) => void;
}

const DELAYS = { min: 100, max: 5_000 };

export class FailedDeliveries {
  readonly #options: FailedOptions;

  constructor(options: FailedOptions) {
    this.#options = options;
  }

  /** To the next delay queue; to the dead-letter queue after the last. */
  async fail(delivery: Delivery, failure: Failure, log: Logger): Promise<void> {
    const { queue, failedMessages, retryDelays, count } = this.#options;
    const { message } = delivery;
    const attempts = attemptsOf(message);
    const delay = retryDelays[attempts];
    if (delay === undefined) return this.deadLetter(delivery, failure, log);
    await this.#forward(
      delivery,
      log,
      () => failedMessages.retry(message, queue, delay, failure),
      () => {
        count('retried');
        log.warn(
          { err: failure.error, queue, attempt: attempts + 1, delay: delay.name },
          'event handler failed; retrying later',
        );
      },
    );
  }

  async deadLetter(delivery: Delivery, failure: Failure, log: Logger): Promise<void> {
    const { queue, failedMessages, count } = this.#options;
    const { message } = delivery;
    await this.#forward(
      delivery,
      log,
      () => failedMessages.deadLetter(message, queue, failure),
      () => {
        count('dead');
        // Reported already, at a bounded rate: a forger must not fill the log.
        if (failure.reason === 'forged') return;
        log.error(
          { err: failure.error, queue, reason: failure.reason, messageId: message.properties.messageId },
          'dead-lettered',
        );
      },
    );
  }

  async #forward(
    delivery: Delivery,
    log: Logger,
    send: () => Promise<void>,
    done: () => void,
  ): Promise<void> {
    const { ackOrNack, signal } = delivery;
    const delays = backoff(DELAYS);
    for (;;) {
      try {
        await send();
        break;
      } catch (error) {
        // A missing exchange, binding or permission is not the message's fault: it is retried until that is fixed.
        if (error instanceof PublishError && error.isAboutTheMessage) {
          log.error({ err: error }, 'cannot publish a failed message; rejected to its dead-letter queue');
          return ackOrNack(error, [{ strategy: 'nack' }]);
        }
        await pause(delays.next(), signal);
        if (signal.aborted) return requeue(delivery);
      }
    }
    ackOrNack();
    done();
  }

  /**
   * To the end of its queue by a confirmed publish: a requeue would count against the message (up to RabbitMQ 4.2). Where the
   * broker does not take it, it is requeued all the same.
   * @returns whether it was returned
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
        if (signal.aborted) requeue(delivery);
        if (signal.aborted) return false;
      }
    }
    forget(delivery);
    return false;
  }
}
