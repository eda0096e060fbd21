// Whether a service's database can be used. One place per process says so: it logs an outage once, with the reason, and its end
// once; consumers, readiness and metrics follow it. An error alone is not an outage: a probe decides.
import { backoff } from '../backoff.ts';
import { pause } from '../concurrency.ts';
import type { Logger } from '../context.ts';
import { ConnectError, isDatabaseUnavailable, isOutOfSpace, reasonOf } from './outage.ts';

export interface AvailabilityOptions {
  /** A transaction as everybody's; rejects where the database cannot be used. `space`: it has to find room on the disk, too. */
  probe: (space: boolean, signal: AbortSignal) => Promise<void>;
  log: Logger;
}

/** ms between the probes of a database that is unavailable: doubling, from the first to the last. */
const DELAYS = { min: 100, max: 5_000 };

export class Availability {
  readonly #options: AvailabilityOptions;
  readonly #closing = new AbortController();
  readonly #listeners: ((available: boolean) => void)[] = [];
  /** Probes that run, with and without space. */
  readonly #checking = new Map<boolean, Promise<unknown>>();
  /** Why the database is unavailable, in one line without secrets; undefined while it is available. */
  problem: string | undefined;
  /** The end of the last outage. */
  since: Date | undefined;

  constructor(options: AvailabilityOptions) {
    this.#options = options;
  }

  /** Called at the begin and the end of each outage. */
  onChange(listener: (available: boolean) => void): void {
    this.#listeners.push(listener);
  }

  /**
   * Something failed with an error that means an outage, or with a time-out.
   * @returns true when a probe succeeds: the error belongs to what failed. False: the database is unavailable.
   */
  async check(error: unknown): Promise<boolean> {
    if (this.problem !== undefined) return false;
    const space = isOutOfSpace(error);
    const checking =
      this.#checking.get(space) ?? this.#probe(space).finally(() => this.#checking.delete(space));
    this.#checking.set(space, checking);
    const failure = await checking;
    if (failure === undefined) return this.problem === undefined;
    if (this.problem === undefined && !this.#closing.signal.aborted) this.#begin(failure, space);
    return false;
  }

  /** Ends the probes. */
  close(): void {
    this.#closing.abort();
  }

  #begin(failure: unknown, space: boolean): void {
    this.problem = reasonOf(failure);
    this.#options.log.warn({ err: failure }, `database unavailable: ${this.problem}`);
    this.#tell(false);
    void this.#recover(space);
  }

  async #recover(space: boolean): Promise<void> {
    const { signal } = this.#closing;
    const began = performance.now();
    const delays = backoff(DELAYS);
    for (;;) {
      await pause(delays.next(), signal);
      if (signal.aborted) return;
      const failure = await this.#probe(space);
      if (signal.aborted) return;
      if (failure === undefined) break;
      this.problem = reasonOf(failure);
    }
    const seconds = Math.round(performance.now() - began) / 1_000;
    this.#options.log.info({ was: this.problem, seconds }, 'database available again');
    this.problem = undefined;
    this.since = new Date();
    this.#tell(true);
  }

  #tell(available: boolean): void {
    for (const listener of this.#listeners) listener(available);
  }

  /** @returns why it failed */
  async #probe(space: boolean): Promise<unknown> {
    for (let again = false; ; again = true) {
      try {
        await this.#options.probe(space, this.#closing.signal);
        return undefined;
      } catch (error) {
        // A connection of the pool that was lost: a new one shows whether there is more to it.
        if (!again && isDatabaseUnavailable(error) && !(error instanceof ConnectError)) continue;
        return error ?? new Error('the probe failed');
      }
    }
  }
}
