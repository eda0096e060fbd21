// Opens and closes a Rascal broker, and works around the errors and hangs that Rascal and amqplib have on the way.
import { type Connection, connect } from 'amqplib/callback_api';
import { pause, within } from '../../concurrency.ts';
import { type BrokerConfig, promised, type RascalBroker, type RascalVhost } from './rascal.ts';
import { rascal } from './rascal-patches.ts';

export interface OpenOptions {
  url: string;
  /** Names the connections in the management UI. */
  name: string;
  config: BrokerConfig;
  /** Cuts all sockets: Rascal leaves one open when a declaration fails, and may wait for a dead one. */
  cut: AbortSignal;
  /** Called, possibly more than once, when a connection is lost. */
  lose: (reason: Error) => void;
}

export interface OpenBroker {
  broker: RascalBroker;
  /** The connection that was opened last: it consumes, if the service consumes. */
  vhost: RascalVhost;
}

/** ms for Rascal to notice that its sockets were cut. */
const DISCONNECT_NOTICE_MS = 20;

/** Declares the topology and opens the connections. Without Rascal's reconnection: a declaration that fails in it leaks a connection. */
export async function openBroker(options: OpenOptions): Promise<OpenBroker> {
  const { cut, lose } = options;
  const vhosts: RascalVhost[] = [];
  const onVhost = (vhost: RascalVhost) => {
    vhosts.push(vhost);
    vhost.on('error', lose);
    // An `error` with the reason may follow right after it.
    vhost.on('disconnect', () => setImmediate(() => lose(new Error('the connection was closed'))));
  };
  const broker = await new Promise<RascalBroker>((resolve, reject) =>
    rascal.Broker.create(rascalConfig(options), { onVhost }, (error, made) => {
      made?.on('error', lose);
      // The timer keeps the process alive, even if this attempt was given up before it got its broker.
      const release = () => clearInterval(made?.keepActive);
      if (error || cut.aborted) release();
      else cut.addEventListener('abort', release, { once: true });
      if (error) reject(error);
      else resolve(made as RascalBroker);
    }),
  );
  return { broker, vhost: vhosts.at(-1) as RascalVhost };
}

/** Closes a broker whose connections are up; gives up after `timeout` ms. */
export async function shutDownBroker(broker: RascalBroker, timeout: number): Promise<void> {
  await within(
    timeout,
    promised<void>((done) => broker.shutdown(done)).catch(() => {}),
  );
  clearInterval(broker.keepActive);
}

/**
 * Closes a broker whose sockets were cut. Rascal throws when a connection ends while it closes it, as all do when RabbitMQ stops;
 * so a broker that lost one of its connections is cut first.
 */
export async function shutDownCutBroker(broker: RascalBroker, timeout: number): Promise<void> {
  await pause(DISCONNECT_NOTICE_MS);
  await shutDownBroker(broker, timeout);
}

/** A connection without Rascal. */
export function connectPlain(options: OpenOptions, role: string): Promise<Connection> {
  return new Promise((resolve, reject) =>
    connect(withHeartbeat(options.url), socketOptions(options, role), (error, connection) => {
      if (error) return reject(error);
      connection.on('error', () => {});
      resolve(connection);
    }),
  );
}

/** The message of an error of a connection, in words where amqplib or Node has none. */
export function connectionProblem(error: Error, url: string): string {
  // The broker closes the connection in place of `connection.open-ok`; amqplib drops its reason.
  if (/^Expected ConnectionOpenOk; got <ConnectionClose/.test(error.message)) {
    const { username, pathname } = new URL(url);
    const vhost = decodeURIComponent(pathname.slice(1)) || '/';
    return `NOT_ALLOWED - vhost '${vhost}' does not exist, is down or full, or user '${decodeURIComponent(username)}' has no permissions on it, or as many connections as it may have`;
  }
  if (error.message !== '') return error.message;
  if (error instanceof AggregateError)
    return error.errors.map((one) => connectionProblem(one, url)).join(', ');
  return String((error as { code?: unknown }).code ?? error.name);
}

function rascalConfig(options: OpenOptions): object {
  const vhosts = Object.entries(options.config.vhosts).map(([name, vhost]) => [
    name,
    {
      ...structuredClone(vhost),
      connection: { url: withHeartbeat(options.url), socketOptions: socketOptions(options, name) },
    },
  ]);
  return {
    defaults: {
      vhosts: {
        connection: { retry: false },
        // A pool that keeps a channel ready requests a new one when the connection is lost, and its shutdown waits for that.
        publicationChannelPools: { regularPool: { min: 0 }, confirmPool: { min: 0 } },
      },
      subscriptions: { retry: false, closeTimeout: 60_000, contentType: 'application/octet-stream' },
    },
    vhosts: Object.fromEntries(vhosts),
  };
}

const socketOptions = ({ name, cut }: OpenOptions, role: string) => ({
  signal: cut,
  noDelay: true, // amqplib leaves Nagle's algorithm on
  timeout: 10_000,
  clientProperties: { connection_name: `${name} ${role}` },
});

/** With a heartbeat of 10 s, unless the URL has another: client and broker notice a dead peer within 20 to 30 s. */
function withHeartbeat(url: string): string {
  const parsed = new URL(url);
  if (!parsed.searchParams.has('heartbeat')) parsed.searchParams.set('heartbeat', '10');
  return parsed.toString();
}
