// Checks the topology before Rascal declares it, so that an error says what to do. Rascal would only report a channel that was
// closed with 406, again and again.
import { WarrenError } from '../errors.ts';
import { type Channels, withChannel } from './publisher.ts';
import { patchChannels } from './rascal/amqplib-patches.ts';
import type { BrokerConfig, VhostConfig } from './rascal/rascal.ts';
import { EVENTS, RPC, UNROUTED } from './topology.ts';

/** The broker lacks an object or a permission; waiting does not fix it. */
export class TopologyError extends WarrenError {
  override readonly name = 'TopologyError';
}

type Refusal = Error & { code?: number };

/**
 * Checks that the exchanges of the platform exist, and declares missing ones if this user may (a broker on this machine); then
 * declares the service's own queues, so that the error names a difference.
 * @throws {TopologyError}
 */
export async function assertTopology(connection: Channels, config: BrokerConfig): Promise<void> {
  await withChannel(connection, async (channel) => patchChannels(channel));
  if (!(await sharedExchangesExist(connection))) await declareShared(connection);
  for (const vhost of vhostsOf(config)) {
    for (const [name, { options }] of Object.entries(vhost.queues ?? {})) {
      // It would belong to this connection, which nobody consumes from.
      if (options?.exclusive) continue;
      await withChannel(connection, (channel) =>
        call((done) => channel.assertQueue(name, options, done)),
      ).catch((cause: Refusal) => {
        if (cause.code === 406)
          throw new TopologyError(
            'topology_refused',
            `queue ${name} exists with other arguments (${reply(cause)}): drain and delete it, or undo the change in broker.ts`,
            { cause },
          );
        if (cause.code === 403)
          throw new TopologyError(
            'topology_refused',
            `this user may not declare queue ${name} (${reply(cause)}): import the definitions file`,
            { cause },
          );
        throw cause;
      });
    }
    for (const { source, destination, bindingKey = '' } of Object.values(vhost.bindings ?? {})) {
      // A reply queue is declared by the connection that consumes from it; what is not shared is this service's own.
      if (vhost.queues?.[destination]?.options?.exclusive || ![EVENTS, RPC].includes(source)) continue;
      await withChannel(connection, (channel) =>
        call((done) => channel.bindQueue(destination, source, bindingKey, {}, done)),
      ).catch((cause: Refusal) => {
        if (cause.code !== 403) throw cause;
        throw new TopologyError(
          'topology_refused',
          `this user may not subscribe to ${bindingKey} (${reply(cause)}): import the definitions file before a service with a new subscription is started`,
          { cause },
        );
      });
    }
  }
}

/**
 * Checks that the declared exchanges and queues exist, and binds them again.
 * @throws the broker's refusal, if an exchange or a queue is missing
 */
export const checkTopology = (channels: Channels, config: BrokerConfig): Promise<void> =>
  withChannel(channels, async (channel) => {
    await call((done) => channel.checkExchange(EVENTS, done));
    for (const { bindings = {} } of vhostsOf(config))
      for (const { source, destination, bindingKey = '' } of Object.values(bindings))
        await call((done) => channel.bindQueue(destination, source, bindingKey, {}, done));
  });

const vhostsOf = (config: BrokerConfig): VhostConfig[] =>
  [config.vhosts.publish, config.vhosts.consume].filter((vhost) => vhost !== undefined);

async function sharedExchangesExist(connection: Channels): Promise<boolean> {
  for (const exchange of [EVENTS, RPC]) {
    const exists = await withChannel(connection, (channel) =>
      call((done) => channel.checkExchange(exchange, done)),
    ).then(
      () => true,
      (error: Refusal) => {
        if (error.code === 404) return false;
        throw error;
      },
    );
    if (!exists) return false;
  }
  return true;
}

async function declareShared(connection: Channels): Promise<void> {
  try {
    await withChannel(connection, async (channel) => {
      await call((done) => channel.assertExchange(UNROUTED, 'fanout', { durable: true }, done));
      await call((done) =>
        channel.assertQueue(
          UNROUTED,
          {
            durable: true,
            arguments: { 'x-queue-type': 'quorum', 'x-max-length': 10_000, 'x-overflow': 'drop-head' },
          },
          done,
        ),
      );
      await call((done) => channel.bindQueue(UNROUTED, UNROUTED, '', {}, done));
      await call((done) =>
        channel.assertExchange(EVENTS, 'topic', { durable: true, alternateExchange: UNROUTED }, done),
      );
      await call((done) => channel.assertExchange(RPC, 'topic', { durable: true }, done));
    });
  } catch (cause) {
    throw new TopologyError(
      'topology_missing',
      `the exchanges '${EVENTS}' and '${RPC}' are missing and this user may not declare them: import charts/rabbitmq/files/definitions.json into the broker`,
      { cause },
    );
  }
}

/** A callback call of amqplib as a promise; a channel that closes meanwhile rejects with the broker's reason. */
const call = (start: (done: (error: unknown) => void) => void) =>
  new Promise<void>((resolve, reject) => start((error) => (error ? reject(error) : resolve())));

const reply = (error: Error) => error.message.replace(/^Operation failed: [^;]*; /, '').replaceAll('"', '');
