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
  /** SIGKILL, as of a crash, `after` ms; default `settling`. */
  kill(options?: { after?: number }): Promise<void>;
  /** After `halt` or `kill`; returns when clients are accepted. */
  start(): Promise<void>;
  running: boolean;
}

/**
 * RabbitMQ writes down new quorum queues only after half a second of quiet: a crash before loses the queue on 3.10, and what is in
 * it on 4.3, although it was confirmed. Tests of anything else wait for that, in ms.
 */
export const settling = 1_000;

/** Settings of the application `rabbit`, by their Erlang names. */
export type BrokerSettings = Record<string, string | number>;

/** The same, for RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS. */
export const erlangArguments = (settings: BrokerSettings): string[] =>
  Object.entries(settings).map(([name, value]) => `-rabbit ${name} ${value}`);
