// What a check of the wire contract is told: about the service, its broker, and how its effects are seen.
import type { CheckName } from './names.ts';

/** How the kit sees the effect of an event. `{PATH}` stands for a field of the event: `{id}`, `{subject}`, `{data.orderId}`. */
export type EffectsOptions =
  /** Routing key of the event that the service publishes in consequence; without it, any event of the service counts. */
  | { event?: string }
  /** A query that returns a count; `$1` is the id of the event. */
  | { sql: string; databaseUrl: string }
  /** A URL that returns a number, a list, or an object with a list `items`; 404 counts as none. */
  | { url: string };

export interface MethodOptions {
  /** Routing key of a method that the service handles, e.g. `user.find.v1`. */
  name: string;
  /** A valid request. Ids in it stay as they are. */
  request: object;
  /** The service that calls it: one that the contract of the method names. Default: `gateway`. */
  caller?: string;
}

export interface StartOptions {
  /** A command of the shell. */
  command: string;
  cwd?: string;
  /** Added to the environment of this process. */
  env?: Record<string, string | undefined>;
}

export interface CheckOptions {
  /** The work queue, `SERVICE.TYPE`. Not needed if only a method is checked. */
  queue?: string;
  /** Data of a valid event, or a whole event. Each message gets new ids: every UUID, and `{uuid}` inside a text, is replaced. */
  sample?: object;
  /** Data for which the handler of the service fails. Without it, retries are not checked. */
  failing?: object;
  /** Paths whose UUIDs stay as they are, e.g. `data.userId`. */
  keep?: readonly string[];
  /** Definitions of `@warren/events` (the exports of a module), an AsyncAPI document, or a JSON Schema of the data. */
  contract?: object;
  /** URL of an administrator of the broker, on the vhost of the service. Default: AMQP_URL. */
  brokerUrl?: string;
  /** Default: AMQP_MANAGEMENT_URL, or port 15672 of the same host. */
  managementUrl?: string;
  effects?: EffectsOptions;
  /** Starts the service. The kit then kills it, starts it again, and stops it at the end. */
  start?: string | StartOptions;
  /** The process of a service that runs, and that a supervisor restarts. */
  pid?: number;
  /** Broker user of the service. Default: the user of the queue's consumer. */
  user?: string;
  /** Broker user of the service that publishes the event. Default: derived from `user`, as a service does it. */
  producer?: string;
  method?: MethodOptions;
  /** The retry ladder. Default: the delay queues of the service, the shortest first. */
  retryDelays?: string;
  /** ms from SIGTERM to the end. Default: 30,000. */
  grace?: number;
  /** ms to wait for a fact, e.g. an effect. Default: 10,000. */
  timeout?: number;
  /** Messages that are published while the service is killed. Default: 200. */
  load?: number;
  /** Checks to run; default: all. */
  only?: readonly CheckName[];
  /** Called when a check begins. */
  onCheck?: (name: CheckName) => void;
}

export type Verdict = 'kept' | 'broken' | 'not checked';

export interface CheckResult {
  check: CheckName;
  verdict: Verdict;
  /** What is broken, or why it was not checked. */
  reasons: readonly string[];
  /** Duration. */
  ms: number;
}

export interface CheckReport {
  queue: string | undefined;
  service: string;
  /** Broker user of the service. */
  user: string;
  /** Host, vhost and version. */
  broker: string;
  checks: readonly CheckResult[];
  /** No check is broken. */
  kept: boolean;
}

/** The check could not run: an option is wrong or missing, or something is unavailable. One sentence. */
export class CheckError extends Error {
  override readonly name = 'CheckError';
}

/** The service does not do what every check needs; in a check it is a fault. */
export class ServiceError extends CheckError {}

export const DEFAULTS = { grace: 30_000, timeout: 10_000, load: 200, caller: 'gateway' } as const;
