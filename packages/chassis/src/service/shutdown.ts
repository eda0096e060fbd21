import { pause, within } from '../concurrency.ts';
import type { ChassisConfig } from '../config.ts';
import type { Logger } from '../context.ts';
import type { Tracing } from '../telemetry/index.ts';
import type { Parts } from './parts.ts';

/** The part of SHUTDOWN_GRACE that is kept for closing connections, which takes a while if the other end does not respond. */
const CLOSE_RESERVE = { ms: 3_000, share: 0.3 };
/** The share of the time until then in which requests, events and tasks may finish; the rest is for the outbox. */
const FINISH_SHARE = 0.8;

export class Shutdown {
  readonly #parts: Parts;
  readonly #tracing: Tracing;
  readonly #config: ChassisConfig;
  readonly #log: Logger;
  #running: Promise<boolean> | undefined;

  constructor(parts: Parts, tracing: Tracing, { config, log }: { config: ChassisConfig; log: Logger }) {
    this.#parts = parts;
    this.#tracing = tracing;
    this.#config = config;
    this.#log = log;
  }

  /** Drains and closes, once. @returns false if that takes longer than SHUTDOWN_GRACE */
  run(): Promise<boolean> {
    this.#running ??= this.#run();
    return this.#running;
  }

  async #run(): Promise<boolean> {
    const started = performance.now();
    const grace = this.#config.SHUTDOWN_GRACE;
    const isDone = (await within(grace, this.#drainAndClose())) ?? false;
    if (isDone) this.#log.info({ ms: Math.round(performance.now() - started) }, 'stopped');
    else
      this.#log.error(
        { code: 'shutdown_overdue' },
        `SHUTDOWN_GRACE (${grace} ms) exceeded; unfinished work will be redone`,
      );
    return isDone;
  }

  async #drainAndClose(): Promise<true> {
    const { SHUTDOWN_GRACE: grace, DRAIN_DELAY: delay } = this.#config;
    const deadline = Date.now() + grace - Math.min(CLOSE_RESERVE.ms, grace * CLOSE_RESERVE.share);
    const left = () => Math.max(0, deadline - Date.now());
    const { http, readiness, stopping, relay } = this.#parts;
    readiness.drain();
    this.#log.info({ drainDelay: delay }, 'draining');
    if (delay > 0) {
      // Connections end with their next response, one by one. Without the delay, a client that reconnects at once meets a closed
      // port.
      http.closeAfterResponse();
      await pause(delay);
    }
    await this.#finish(left() * FINISH_SHARE);
    stopping.abort();
    await relay?.stop(left());
    await closeAll(this.#parts, this.#tracing);
    return true;
  }

  /** Accepts nothing more, and finishes requests, events and tasks; those that take longer than `ms` are redone. */
  async #finish(ms: number): Promise<void> {
    const { http, broker, consumers, work } = this.#parts;
    consumers?.intake.stop();
    for (const consumer of consumers?.consumers ?? []) consumer.stop();
    await within(
      ms,
      Promise.all([
        http.drain(),
        broker?.connection.unsubscribe(ms),
        ...(work?.runners ?? []).map((runner) => runner.stop()),
      ]),
    );
  }
}

/** Closes what is open, in an order in which nothing needs what is already closed. */
export async function closeAll(parts: Parts, tracing: Tracing): Promise<void> {
  const { databases, consumers, broker, http, edge, admin } = parts;
  databases?.availability.close();
  await consumers?.failedMessages.close();
  await broker?.rpc.close();
  await broker?.connection.close();
  await databases?.close();
  await http.close();
  await edge?.close?.();
  await admin.close();
  await tracing.shutdown();
}
