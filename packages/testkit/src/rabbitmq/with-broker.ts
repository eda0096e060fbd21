import { randomBytes } from 'node:crypto';
import { keptServices } from '../kept.ts';
import { atTheEnd } from '../mocha.ts';
import type { Broker, BrokerSettings, PrivateBroker } from './broker.ts';
import {
  type Definitions,
  findDefinitions,
  type Loaded,
  loadDefinitions,
  platformDefinitions,
} from './definitions.ts';
import { managementOf } from './management.ts';
import { startBroker, startPrivateBroker } from './start.ts';
import { adminClient, type Vhost } from './vhost.ts';

export interface WithBrokerOptions {
  /** The services whose users are made. Default: those of the definitions file of this checkout. */
  services?: string[];
  /** Default: the definitions file of this checkout, or, with `services` that it does not name, the same for those. */
  definitions?: Definitions;
  /** A broker of one's own, that can be stopped, killed and started. Slow to start: 5 s and more. */
  private?: boolean;
  /** Of a private broker: settings of the application `rabbit`, e.g. `{ consumer_timeout: 8_000 }`. */
  settings?: BrokerSettings;
}

/** A broker inside a mocha test. Usable from the first `before` on. */
export interface TestBroker extends Vhost {
  version: string;
  /** Of the management HTTP API; the credentials are those of `adminUrl`. */
  managementUrl: string;
  /** An orderly stop. Private brokers only. */
  stop(): Promise<void>;
  /** SIGKILL, `after` ms (default `QUORUM_QUEUE_FLUSH_MS`). Private brokers only. */
  kill(options?: { after?: number }): Promise<void>;
  /** Up again after `stop` or `kill`, with the same ports and data. Private brokers only. */
  start(): Promise<void>;
}

let shared: Promise<Broker> | undefined;

/**
 * A vhost of a real RabbitMQ for the tests of this file (or `describe`), with the platform's exchanges and users in it. It is
 * deleted after them. All files of a run share one broker: that of AMQP_URL, the one that `make services` keeps, or one that is started for the run.
 *
 * @example
 * const broker = withBroker({ services: ['user', 'session'] });
 * it('publishes', async () => {
 *   const probe = await broker.probe('events', 'user.#');
 *   await start(service, { AMQP_URL: broker.url('user') });
 *   await probe.waitFor({ type: 'user.created' });
 * });
 */
export function withBroker(options: WithBrokerOptions = {}): TestBroker {
  let broker: Broker | undefined;
  let loaded: Loaded | undefined;
  const vhost = adminClient(() => {
    if (!loaded)
      throw new Error('withBroker() is ready from before() on: use the broker inside hooks and tests');
    return loaded;
  });

  before('a broker', async function () {
    this.timeout(300_000);
    if (options.private)
      broker = await startPrivateBroker(options.settings ? { settings: options.settings } : {});
    else {
      shared ??= startBroker({ env: { ...keptServices(), ...process.env } }).then((started) => {
        atTheEnd(this, 'the end of the broker', () => started.stop());
        return started;
      });
      broker = await shared;
    }
    loaded = await loadDefinitions({
      management: managementOf(broker),
      brokerUrl: broker.url,
      vhost: `warren-test-${randomBytes(4).toString('hex')}`,
      definitions: definitionsFor(options),
      services: options.services,
      disposable: options.private,
    });
  });

  after('the end of the vhost', async function () {
    this.timeout(60_000);
    await vhost.disconnect();
    if (options.private) await broker?.stop();
    else await loaded?.remove();
  });

  const own = (): PrivateBroker => {
    if (!options.private)
      throw new Error('only withBroker({ private: true }) gives a broker that can be stopped');
    return broker as PrivateBroker;
  };

  return Object.defineProperties(
    {
      stop: () => own().halt(),
      kill: (options) => own().kill(options),
      start: () => own().start(),
    } as TestBroker,
    {
      ...Object.getOwnPropertyDescriptors(vhost),
      version: { get: () => broker?.version, enumerable: true },
      managementUrl: { get: () => broker?.managementUrl, enumerable: true },
    },
  );
}

function definitionsFor({ services, definitions }: WithBrokerOptions): Definitions {
  if (definitions) return definitions;
  const found = findDefinitions();
  const known = found?.users?.map(({ name }) => name) ?? [];
  if (found && (services ?? known).every((service) => known.includes(service))) return found;
  if (!services) {
    throw new Error(
      'there is no definitions file above this directory: name the services, withBroker({ services: [...] })',
    );
  }
  return platformDefinitions(services);
}
