// Whether the database of a service can be used. One object per process decides it, by a probe: an error alone is not an outage.
// It logs the begin and the end of an outage once; consumers, readiness and metrics follow it.
import { backoff } from '../backoff.ts';
import { pause } from '../concurrency.ts';
import type { Log } from '../context.ts';
import { ConnectError, isDatabaseUnavailable, isOutOfSpace, reasonOf } from './outage.ts';

export interface AvailabilityOptions {
  /** Rejects if the database cannot be used. With `space`, it also checks that there is room on the disk. */
  probe: (space: boolean, signal: AbortSignal) => Promise<void>;
  log: Log;
}

/** Between the probes during an outage: doubling, from the first to the last. */
const PROBE_DELAY_MS = { min: 100, max: 5_000 };

export class Availability {
  readonly #options: AvailabilityOptions;
  readonly #closing = new AbortController();
  readonly #listeners: ((available: boolean) => void)[] = [];
  /** The probes in flight, with and without `space`. */
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
   * Call it after an error that means an outage, or a timeout.
   * @returns true if a probe succeeds: the error belongs to the statement. False: the database is unavailable.
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
    this.#notify(false);
    void this.#recover(space);
  }

  async #recover(space: boolean): Promise<void> {
    const { signal } = this.#closing;
    const began = performance.now();
    const delays = backoff(PROBE_DELAY_MS);
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
    this.#notify(true);
  }

  #notify(available: boolean): void {
    for (const listener of this.#listeners) listener(available);
  }

  /** @returns why it failed */
  async #probe(space: boolean): Promise<unknown> {
    for (let again = false; ; again = true) {
      try {
        await this.#options.probe(space, this.#closing.signal);
        return undefined;
      } catch (error) {
        // The pool may have given out a connection that was already lost: try a new one.
        if (!again && isDatabaseUnavailable(error) && !(error instanceof ConnectError)) continue;
        return error ?? new Error('the probe failed');
      }
    }
  }
}
