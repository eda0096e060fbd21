// An attempt to connect to the broker, and the connection that it leads to; see connection.ts.
import type { BrokerConfig, RascalBroker, RascalVhost } from './rascal/rascal.ts';

/** ms from CONNECTING to the last subscription: Rascal may wait forever for a reply. */
const CONNECT_TIMEOUT_MS = 30_000;

/** One pass from CONNECTING to RELEASING. Each has its own fields, as an earlier one may report late that it is lost. */
export class Attempt {
  readonly #lost = Promise.withResolvers<Error>();
  readonly #timer: NodeJS.Timeout;
  /** Cuts all sockets of this attempt. */
  readonly cut = new AbortController();
  /** Aborts in RELEASING. */
  readonly releasing = new AbortController();
  config: BrokerConfig | undefined;
  broker: RascalBroker | undefined;
  vhost: RascalVhost | undefined;

  constructor() {
    this.#timer = setTimeout(
      () => this.lose(new Error(`no response within ${CONNECT_TIMEOUT_MS / 1_000} s`)),
      CONNECT_TIMEOUT_MS,
    );
  }

  readonly lose = (reason: Error): void => this.#lost.resolve(reason);

  /** Resolves with the reason. */
  get lost(): Promise<Error> {
    return this.#lost.promise;
  }

  /** @throws the reason, if this attempt is lost first */
  async unlessLost<T>(work: Promise<T> | undefined): Promise<T | undefined> {
    const result = await Promise.race([work, this.lost]);
    if (result instanceof Error) throw result;
    return result;
  }

  /** No time limit any more. */
  clearTimeout(): void {
    clearTimeout(this.#timer);
  }
}
