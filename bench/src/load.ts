// The options and the report of the driver; see driver.ts.
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

interface Common {
  /** Base URLs of the service's replicas, which take turns. */
  urls: readonly string[];
  /** Length of the load; of a closed loop the limit for it. */
  seconds: number;
}

interface Orders extends Common {
  /** Ids of users who order in turn. */
  users: readonly string[];
}

interface SignUps extends Common {
  mode: 'sign-ups';
  /** Sign-ups a second. */
  rate: number;
  /** Addresses begin with this. */
  prefix: string;
  /** How often one is sent, under one Idempotency-Key, before it counts as refused. */
  attempts: number;
}

export type DriverOptions =
  | (Orders & { mode: 'closed'; orders: number; clients: number })
  | (Orders & { mode: 'open' /** Orders a second. */; rate: number })
  | SignUps;

export interface Sent {
  id: string;
  /** When it should have been sent, ms since the epoch. */
  due: number;
  /** From then to the answer, ms. */
  acceptedMs: number;
}

export interface DriverReport {
  /** ms since the epoch */
  began: number;
  /** When the last answer came, ms since the epoch. */
  ended: number;
  /** What was answered 201. */
  sent: Sent[];
  /** Everything else that was answered to the last attempt, and how often. */
  errors: Record<string, number>;
  /** Attempts after the first. */
  repeats: number;
  cpuSeconds: number;
}

const DRIVER = fileURLToPath(new URL('./driver.ts', import.meta.url));
const MAX_REPORT_BYTES = 512 * 1024 ** 2;

/** Runs a driver to its end. */
export async function drive(options: DriverOptions): Promise<DriverReport> {
  const { stdout } = await promisify(execFile)(process.execPath, [DRIVER, JSON.stringify(options)], {
    maxBuffer: MAX_REPORT_BYTES,
  });
  return JSON.parse(stdout) as DriverReport;
}
