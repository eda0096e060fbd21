/** A running RabbitMQ, wherever it came from. */
export interface Broker {
  /** Of a user with every right, on the vhost `/`. */
  url: string;
  /** Of the management HTTP API, with no credentials in it and no slash at the end. */
  managementUrl: string;
  version: string;
  /** For people: `RabbitMQ 4.3.6 in Docker (rabbitmq:4-management)`. */
  description: string;
  /** Ends the broker, and removes what was made for it; a broker that was given stays. */
  stop(): Promise<void>;
}

/** A broker of which a test may dispose. Ports, data and users stay the same from start to start. */
export interface PrivateBroker extends Broker {
  /** An orderly stop, as of a deployment. */
  halt(): Promise<void>;
  /** SIGKILL, as of a crash, `after` ms; default `QUORUM_QUEUE_FLUSH_MS`. */
  kill(options?: { after?: number }): Promise<void>;
  /** After `halt` or `kill`; returns when clients are accepted. */
  start(): Promise<void>;
  running: boolean;
}

/**
 * RabbitMQ persists new quorum queues only after half a second of inactivity. A crash before that loses the queue (3.10) or its
 * confirmed messages (4.3), so tests of anything else wait this long.
 */
export const QUORUM_QUEUE_FLUSH_MS = 1_000;

/** Settings of the application `rabbit`, by their Erlang names. */
export type BrokerSettings = Record<string, string | number>;

/** The same, for RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS. */
export const erlangArguments = (settings: BrokerSettings): string[] =>
  Object.entries(settings).map(([name, value]) => `-rabbit ${name} ${value}`);
