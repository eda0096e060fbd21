// The active relay: its broker connection, and the way from one state to the next; see relay.ts.
import { backoff } from '../backoff.ts';
import { pause, type Waker, whenAborted } from '../concurrency.ts';
import type { Log } from '../context.ts';
import { type PublishError, Publisher } from '../messaging/publisher.ts';
import { Holds } from './holds.ts';
import { Isolation } from './isolation.ts';
import type { PublishRow, RelayHooks } from './publish.ts';
import { Publishing } from './publishing.ts';
import type { OutboxReader } from './reader.ts';

export interface LeaderOptions {
  /** Opens a connection to the broker; rejects while it is unavailable. */
  connect: Parameters<typeof Publisher.open>[0];
  /** Resolves when the broker is worth trying. */
  connected: () => Promise<void>;
  onBlocked: (blocked: boolean) => void;
  publish: PublishRow;
  waker: Waker;
  /** Aborts when this process is to publish what is there, and end. */
  draining: AbortSignal;
  /** Aborts when the time for that is over. */
  stopping: AbortSignal;
  log: Log;
  hooks: RelayHooks;
}

/** ms on one channel after which the next failure counts as the first. */
const RECONNECT_RESET_MS = 10_000;
/** ms for confirms and deletes in flight when the time is over. */
const SHUTDOWN_SETTLE_MS = 500;
/** ms until a broker that refuses every event is tried again. */
const REFUSED_RETRY_MS = 5_000;
/** AMQP reply code: an operator closed the connection, or the broker is stopping. */
const CONNECTION_FORCED = 320;

/** The state after a channel has ended. */
type Next = 'connect' | 'connect-and-isolate' | 'wait' | 'end';

export class Leader {
  readonly #options: LeaderOptions;
  readonly #stopped: Promise<void>;
  readonly #drained: Promise<void>;
  /** The broker refuses every event, which has been logged. */
  #isRefusingAll = false;

  constructor(options: LeaderOptions) {
    this.#options = options;
    this.#stopped = whenAborted(options.stopping);
    this.#drained = whenAborted(options.draining);
  }

  /** Leads until it is drained or stopped. @throws when the database connection is lost */
  async lead(reader: OutboxReader): Promise<void> {
    const { log, stopping } = this.#options;
    log.debug('outbox relay is active');
    const holds = new Holds(log);
    for (const key of await reader.heldKeys()) holds.begin(key, undefined);
    // A step that hangs when the time is over waits for one of the two connections; this cuts both.
    let timer: NodeJS.Timeout | undefined;
    const onStopping = () => {
      timer = setTimeout(() => reader.end(new Error('the shutdown deadline is over')), SHUTDOWN_SETTLE_MS);
    };
    stopping.addEventListener('abort', onStopping);
    try {
      await this.#run(reader, holds);
      if (reader.lost && !stopping.aborted) throw reader.reason;
    } finally {
      stopping.removeEventListener('abort', onStopping);
      clearTimeout(timer);
    }
  }

  async #run(reader: OutboxReader, holds: Holds): Promise<void> {
    const { stopping } = this.#options;
    const delays = backoff({ min: 100, max: 5_000 });
    let next: Next = 'connect';
    while (!stopping.aborted && !reader.lost) {
      const since = performance.now();
      next = await this.#useChannel(reader, holds, next === 'connect-and-isolate');
      if (next === 'end') return;
      if (performance.now() - since > RECONNECT_RESET_MS) delays.reset();
      if (next === 'wait') await Promise.race([pause(delays.next(), stopping), reader.ended]);
    }
  }

  /** CONNECTING, then ISOLATING if asked, then PUBLISHING. */
  async #useChannel(reader: OutboxReader, holds: Holds, isolate: boolean): Promise<Next> {
    const { connected, stopping, draining, publish, waker } = this.#options;
    try {
      await Promise.race([connected(), reader.ended, this.#drained]);
      if (reader.lost || stopping.aborted) return 'end';
      const opened = await this.#openPublisher(reader);
      const publisher = isolate ? await this.#isolate(reader, holds, opened) : opened;
      const onConfirmed = () => this.#reportAcceptance();
      const publishing = new Publishing({
        reader,
        publisher,
        holds,
        publish,
        waker,
        draining,
        stopping,
        onConfirmed,
      });
      return (await publishing.run()) === 'drained' ? 'end' : 'connect';
    } catch (error) {
      return this.#afterFailure(reader, error as Partial<PublishError>);
    } finally {
      // A broker that has not responded until the time is over does not respond to a close, either.
      if (stopping.aborted) reader.publisher?.destroy();
      else await reader.publisher?.close();
      reader.publisher = undefined;
      holds.forget();
    }
  }

  #afterFailure(reader: OutboxReader, error: Partial<PublishError>): Next {
    const { log, draining, stopping } = this.#options;
    if (reader.lost || stopping.aborted) return 'end';
    if (error.reason === 'refused' && error.code !== CONNECTION_FORCED) {
      const text = 'the broker closed the channel over an event; publishing one by one to find it';
      if (!this.#isRefusingAll) log.warn({ err: error }, text);
      return 'connect-and-isolate';
    }
    log.debug({ err: error }, 'outbox relay cannot publish; retrying');
    return draining.aborted ? 'end' : 'wait';
  }

  async #openPublisher(reader: OutboxReader): Promise<Publisher> {
    const { connect, onBlocked, waker, hooks } = this.#options;
    const opening = Publisher.open(connect);
    // With a broker that does not respond, it takes as long as the heartbeat.
    const publisher = await Promise.race([opening, reader.ended, this.#stopped]);
    if (publisher === undefined) {
      opening.then((late) => late.destroy()).catch(() => {});
      throw reader.reason ?? new Error('the shutdown deadline is over');
    }
    publisher.onBlocked = onBlocked;
    publisher.onClose = () => waker.nudge();
    publisher.onReturn = (type = '') => hooks.onUnconsumed(type);
    reader.publisher = publisher;
    if (reader.lost) publisher.destroy();
    return publisher;
  }

  /** ISOLATING. @returns the publisher to go on with: a refusal closes the one that it hits */
  async #isolate(reader: OutboxReader, holds: Holds, first: Publisher): Promise<Publisher> {
    const { log, hooks, publish, stopping } = this.#options;
    const open = () => this.#openPublisher(reader);
    const isolation = new Isolation({ reader, publish, open, holds, stopping, log, hooks });
    const { publisher, refusal } = await isolation.run(first);
    if (refusal !== undefined) {
      if (!this.#isRefusingAll)
        log.error({ err: refusal }, 'the broker refuses every event; events stay in the outbox');
      this.#isRefusingAll = true;
      await Promise.race([pause(REFUSED_RETRY_MS, stopping), reader.ended]);
    }
    return publisher;
  }

  #reportAcceptance(): void {
    if (!this.#isRefusingAll) return;
    this.#isRefusingAll = false;
    this.#options.log.info('the broker accepts events again');
  }
}
