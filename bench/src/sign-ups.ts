// Sign-ups through the gateway to the last e-mail, with all six services: what one costs, and how long the e-mails take when every
// service is restarted under the load. And the accounts afterwards.
import { setTimeout as wait } from 'node:timers/promises';
import { query } from '@warren/testkit';
import { type Mailbox, openMailbox } from '../../e2e/support/src/mailbox.ts';
import { readLeftovers } from './accounting.ts';
import { readCpu } from './cpu.ts';
import { type Cost, costOf } from './flow.ts';
import { type DriverReport, drive } from './load.ts';
import { RunningSystem } from './running.ts';
import { readSignUpBooks, signUpFaults } from './sign-up-accounting.ts';
import type { Stage } from './stage.ts';
import { percentile } from './statistics.ts';
import type { System } from './systems.ts';

export interface SignUpSettings {
  /** Sign-ups a second. */
  rate: number;
  /** s of load. */
  seconds: number;
  /** s of load before it, which are not measured. */
  warmUpSeconds: number;
  /** With it, every service is restarted in turn, evenly over the load; s that each goes on serving after SIGTERM. */
  drainDelay?: number;
}

export interface SignUpResult {
  system: string;
  title: string;
  round: number;
  /** Sign-ups a second, and how many were answered 201. */
  rate: number;
  signUps: number;
  /** CPU of a sign-up, µs; not where services were restarted, for the CPU of processes that have ended is not known. */
  cost?: Cost;
  /** Cores that others on this machine used meanwhile. */
  others?: number;
  /** ms from the time a sign-up was due to its answer. */
  accepted: { p50: number; p99: number };
  /** s from the answer to the last sign-up to the last e-mail at the mail server. */
  lastEmailSeconds: number;
  /** Services that were replaced, s from the first SIGTERM or start to the last end, and requests that were repeated. */
  restarts?: { services: number; seconds: number; repeats: number };
  faults: string[];
}

/** A welcome, an order received, and an order confirmed or cancelled. */
const EMAILS_EACH = 3;
/** How often a client sends a sign-up that is not answered 201. */
const ATTEMPTS = 40;
/** ms that e-mails may take once the load has ended. */
const DRAIN_MS = 300_000;
const POLL_MS = 100;
/** ms for what follows the last e-mail: acknowledgements, deletes. */
const SETTLE_MS = 500;

export async function runSignUps(
  stage: Stage,
  system: System,
  { round, settings }: { round: number; settings: SignUpSettings },
): Promise<SignUpResult> {
  const { name, title } = system;
  const result: SignUpResult = {
    ...{ system: name, title, round, rate: settings.rate, signUps: 0 },
    ...{ accepted: { p50: 0, p99: 0 }, lastEmailSeconds: 0, faults: [] },
  };
  let shop: Shop | undefined;
  try {
    shop = await Shop.open(stage, system, settings);
    await shop.warmUp();
    Object.assign(result, await shop.measure());
  } catch (error) {
    result.faults.push((error as Error).message);
  }
  // The accounts show what is missing.
  result.faults.push(...((await shop?.takeAccounts().catch((error: Error) => [error.message])) ?? []));
  await shop?.close();
  return result;
}

/** All six services, a mail server, and the sign-ups that were accepted so far. */
class Shop {
  readonly #stage: Stage;
  readonly #running: RunningSystem;
  readonly #mailbox: Mailbox;
  readonly #settings: SignUpSettings;
  readonly #accepted: string[] = [];
  readonly #faults: string[] = [];
  /** ms since the epoch */
  #lastMail = 0;

  private constructor(stage: Stage, running: RunningSystem, mailbox: Mailbox, settings: SignUpSettings) {
    this.#stage = stage;
    this.#running = running;
    this.#mailbox = mailbox;
    this.#settings = settings;
    mailbox.beforeAnswer = () => {
      this.#lastMail = performance.timeOrigin + performance.now();
    };
  }

  static async open(stage: Stage, system: System, settings: SignUpSettings): Promise<Shop> {
    const mailbox = await openMailbox();
    const { drainDelay } = settings;
    const drain: Record<string, string> = drainDelay === undefined ? {} : { DRAIN_DELAY: `${drainDelay}s` };
    const env = Object.fromEntries(system.services.map(({ service }) => [service, drain]));
    const email = { ...drain, SMTP_URL: mailbox.url, MAIL_FROM: 'shop@example.com' };
    try {
      const hasFronts = drainDelay !== undefined;
      const running = await RunningSystem.start(stage, system, { env: { ...env, email }, hasFronts });
      return new Shop(stage, running, mailbox, settings);
    } catch (error) {
      await mailbox.close();
      throw error;
    }
  }

  async warmUp(): Promise<void> {
    await this.#signUp('warm-up', this.#settings.warmUpSeconds);
    await this.#untilMailed();
    for (const { service, hasDatabase } of this.#running.system.services)
      if (hasDatabase) await query(this.#running.databaseUrl(service), 'vacuum analyze');
    await query(this.#stage.database.url, 'checkpoint');
  }

  async measure(): Promise<Partial<SignUpResult>> {
    const { seconds, drainDelay } = this.#settings;
    const before = this.#readCpu();
    const since = performance.now();
    const [report, restarts] = await Promise.all([
      this.#signUp('measured', seconds),
      drainDelay === undefined ? undefined : this.#restartAll(seconds),
    ]);
    await this.#untilMailed();
    const took = (performance.now() - since) / 1_000;
    const latencies = report.sent.map(({ acceptedMs }) => acceptedMs);
    return {
      signUps: report.sent.length,
      accepted: { p50: percentile(latencies, 0.5), p99: percentile(latencies, 0.99) },
      lastEmailSeconds: Math.max(0, this.#lastMail - report.ended) / 1_000,
      ...(restarts
        ? { restarts: { ...restarts, repeats: report.repeats } }
        : costOf(before, this.#readCpu(), report, took)),
    };
  }

  /** Stops the services. @returns what is wrong */
  async takeAccounts(): Promise<string[]> {
    await this.#running.stop();
    // Of `<ID@domain>`
    const mails = this.#mailbox.mails.map(({ messageId }) => messageId.slice(1, messageId.indexOf('@')));
    const books = await readSignUpBooks(this.#running, mails);
    return [...this.#faults, ...signUpFaults(books, this.#accepted)];
  }

  async close(): Promise<void> {
    await this.#running.remove();
    await this.#mailbox.close();
  }

  async #signUp(prefix: string, seconds: number): Promise<DriverReport> {
    const { rate } = this.#settings;
    const urls = this.#running.urls('gateway');
    const report = await drive({ mode: 'sign-ups', urls, rate, seconds, prefix, attempts: ATTEMPTS });
    this.#accepted.push(...report.sent.map(({ id }) => id));
    for (const [error, count] of Object.entries(report.errors))
      this.#faults.push(`${count} sign-ups were refused: ${error}`);
    return report;
  }

  /** One after the other, each at its time or when the one before has ended. */
  async #restartAll(seconds: number): Promise<{ services: number; seconds: number }> {
    const { services } = this.#running.system;
    const began = performance.now();
    for (const [index, { service }] of services.entries()) {
      const due = began + (index * seconds * 1_000) / services.length;
      await wait(Math.max(0, due - performance.now()));
      await this.#running.roll(service);
    }
    return { services: services.length, seconds: (performance.now() - began) / 1_000 };
  }

  /** Waits until every accepted sign-up has its e-mails and no work is left. @throws after `DRAIN_MS` */
  async #untilMailed(): Promise<void> {
    const wanted = this.#accepted.length * EMAILS_EACH;
    const deadline = performance.now() + DRAIN_MS;
    const isDone = async () =>
      this.#mailbox.mails.length >= wanted &&
      Object.values(await readLeftovers(this.#running)).every((count) => count === 0);
    while (!(await isDone())) {
      if (performance.now() > deadline)
        throw new Error(
          `${this.#mailbox.mails.length} of ${wanted} e-mails were sent within ${DRAIN_MS / 1_000} s`,
        );
      await wait(POLL_MS);
    }
    await wait(SETTLE_MS);
  }

  #readCpu() {
    const services = [...this.#running.processes.values()].map(({ pid }) => pid);
    return readCpu({ services, ...this.#stage.pids });
  }
}
