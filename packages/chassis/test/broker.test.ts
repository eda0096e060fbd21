import { defineEvent, defineMethod, Joi } from '@warren/events';
import { expect } from 'chai';
import {
  defineBroker,
  defineService,
  type Handlers,
  type Methods,
  RETRY_DELAYS,
  rascalConfig,
  start,
} from '../src/index.ts';
import { type BrokerSettings, defaultBrokerSettings } from '../src/messaging/topology.ts';
import { standard } from './fixtures/services.ts';

const planted = defineEvent<{ plantId: string }>({
  type: 'garden.planted',
  version: 1,
  data: { plantId: Joi.string().required() },
});
const plantedV2 = defineEvent<{ plantId: string; bed: number }>({
  type: 'garden.planted',
  version: 2,
  data: { plantId: Joi.string().required(), bed: Joi.number().required() },
});
const cooked = defineEvent<{ dishId: string }>({
  type: 'kitchen.cooked',
  version: 1,
  data: { dishId: Joi.string().required() },
});
const taste = defineMethod<{ dishId: string }, { good: boolean }>({
  method: 'kitchen.taste',
  version: 1,
  callers: ['garden'],
  access: 'public',
  request: { dishId: Joi.string().required() },
  reply: { good: Joi.boolean().required() },
});

const publish = { publications: { 'kitchen.cooked.v1': cooked } };
const requests = { methods: { 'kitchen.taste.v1': taste }, prefetch: 7, redeliveries: { limit: 3 } };
const broker = defineBroker('kitchen', {
  vhosts: {
    publish,
    consume: {
      subscriptions: {
        'kitchen.garden.planted': {
          event: [planted, plantedV2],
          prefetch: 5,
          redeliveries: { limit: 4 },
          retry: ['2s', '1h'],
          deadLetters: 'kitchen.garden.planted.dlq',
        },
        'kitchen.rpc': requests,
        'kitchen.reply': { exclusive: true, prefetch: 9 },
      },
    },
  },
});

const handlers: Handlers<typeof broker> = {
  'kitchen.garden.planted': [
    async ({ data }) => void (data.plantId satisfies string),
    { key: ({ data }) => data.plantId, handle: async ({ data }) => void (data.bed satisfies number) },
  ],
};
const methods: Methods<typeof broker> = {
  'kitchen.taste.v1': async ({ dishId }) => ({ good: dishId !== '' }),
};
const parts = { version: '1.0.0', migrations: new URL('./fixtures/migrations/', import.meta.url) };

describe('a broker.ts', () => {
  const consume = () => rascalConfig(broker).vhosts.consume;

  it('is expanded to what it declares', () => {
    expect(consume()?.subscriptions).to.deep.equal({
      'kitchen.garden.planted': { queue: 'kitchen.garden.planted', prefetch: 5 },
      'kitchen.rpc': { queue: 'kitchen.rpc', prefetch: 7 },
      'kitchen.reply': { queue: 'kitchen.reply.INSTANCE', prefetch: 9 },
    });
    const { options } = consume()?.queues?.['kitchen.garden.planted'] ?? {};
    expect(options?.arguments).to.include({
      'x-delivery-limit': 4,
      'x-dead-letter-routing-key': 'kitchen.garden.planted.dlq',
    });
    expect(consume()?.queues?.['kitchen.rpc']?.options?.arguments).to.include({ 'x-delivery-limit': 3 });
    expect(rascalConfig(broker).vhosts.publish.publications).to.have.all.keys('kitchen.cooked.v1');
  });

  it('binds one queue to all versions of an event', () => {
    const keys = Object.values(consume()?.bindings ?? {})
      .filter(({ source, destination }) => source === 'events' && destination === 'kitchen.garden.planted')
      .map(({ bindingKey }) => bindingKey);
    expect(keys).to.deep.equal(['garden.planted.v1', 'garden.planted.v2']);
  });

  it('keeps its own retry ladder; RETRY_DELAYS is that of the environment', () => {
    const settings: BrokerSettings = { ...defaultBrokerSettings, retryDelays: [{ name: '5s', ms: 5_000 }] };
    const delays = (of: typeof broker, given = settings) =>
      Object.keys(rascalConfig(of, given).vhosts.consume?.queues ?? {}).filter((name) =>
        name.startsWith('kitchen.retry.'),
      );
    expect(delays(broker)).to.deep.equal(['kitchen.retry.2s', 'kitchen.retry.1h']);
    const queue = broker.vhosts.consume?.subscriptions['kitchen.garden.planted'];
    const flexible = {
      ...broker,
      vhosts: {
        publish,
        consume: { subscriptions: { 'kitchen.garden.planted': { ...queue, retry: RETRY_DELAYS } } },
      },
    } as unknown as typeof broker;
    expect(delays(flexible)).to.deep.equal(['kitchen.retry.5s']);
    expect(delays(flexible, defaultBrokerSettings)).to.deep.equal([
      'kitchen.retry.1s',
      'kitchen.retry.10s',
      'kitchen.retry.1m',
    ]);
  });

  it('refuses a name that is not that of its event or method', () => {
    const declare = (subscriptions: object, publications = {}) =>
      defineBroker('kitchen' as string, {
        vhosts: {
          publish: { publications },
          consume: { subscriptions: subscriptions as Record<string, never> },
        },
      });
    const queue = { event: planted, ...standard, deadLetters: 'x.dlq' };
    expect(() => declare({ 'kitchen.garden.dug': queue })).to.throw(
      "broker.ts of kitchen: 'kitchen.garden.dug' has to be named 'kitchen.garden.planted'",
    );
    expect(() =>
      declare({ 'kitchen.rpc': { ...requests, methods: { 'kitchen.smell.v1': taste } } }),
    ).to.throw("'kitchen.smell.v1' has to be named 'kitchen.taste.v1'");
    expect(() => declare({}, { 'kitchen.cooked.v2': cooked })).to.throw(
      "has to be named 'kitchen.cooked.v1'",
    );
  });

  it('refuses a retry ladder that the broker could not keep', () => {
    const wrong = defineBroker('kitchen', {
      vhosts: {
        publish: {},
        consume: {
          subscriptions: {
            'kitchen.garden.planted': {
              event: planted,
              ...standard,
              retry: ['60d'],
              deadLetters: 'kitchen.garden.planted.dlq',
            },
          },
        },
      },
    });
    expect(() => rascalConfig(wrong)).to.throw('retry: 60d has to be different durations');
  });

  it('requires a database if it subscribes to events', () => {
    const { migrations: _, ...without } = parts;
    expect(() =>
      defineService<object, object, typeof broker>({
        name: 'kitchen',
        broker,
        handlers,
        methods,
        ...without,
      }),
    ).to.throw('service kitchen: handlers need migrations for the inbox');
  });

  describe('with a part missing that the compiler did not ask for', () => {
    const env = {
      AMQP_URL: 'amqp://127.0.0.1:1',
      DATABASE_URL: 'postgres://127.0.0.1:1/kitchen',
      PORT: '0',
      ADMIN_PORT: '0',
      LOG_LEVEL: 'silent',
    };
    const failureOf = (given: object): Promise<unknown> =>
      start({ name: 'kitchen', broker, handlers, methods, ...parts, ...given }, env, {
        signal: AbortSignal.timeout(500),
      }).catch((error) => error);
    const invalid = (message: string) => ({ code: 'invalid_service', message });

    it('does not start without a handler', async () => {
      expect(await failureOf({ handlers: {} })).to.include(
        invalid('handlers.ts has no handler for garden.planted.v1'),
      );
    });

    it('does not start without the handler of one version', async () => {
      const [first] = handlers['kitchen.garden.planted'];
      expect(await failureOf({ handlers: { 'kitchen.garden.planted': first } })).to.include(
        invalid('handlers.ts has no handler for garden.planted.v2'),
      );
    });

    it('does not start without a method', async () => {
      expect(await failureOf({ methods: {} })).to.include(
        invalid('methods.ts has no handler for kitchen.taste.v1'),
      );
    });
  });
});

// --- What does not compile; `make check` compiles this file ---

const compiles = (..._: unknown[]) => {};

compiles(
  () => {
    // @ts-expect-error a handler is missing
    const missing: Handlers<typeof broker> = {};
    // @ts-expect-error a handler for what is not subscribed to
    const tooMany: Handlers<typeof broker> = { ...handlers, 'kitchen.garden.dug': async () => {} };
    const [handler] = handlers['kitchen.garden.planted'];
    // @ts-expect-error the second version has no handler
    const oneVersion: Handlers<typeof broker> = { 'kitchen.garden.planted': [handler] };
    const wrongField: Handlers<typeof broker> = {
      // @ts-expect-error the first version has no such field
      'kitchen.garden.planted': [async ({ data }) => void data.bed, handler],
    };
    // @ts-expect-error a method is missing
    const noMethod: Methods<typeof broker> = {};
    // @ts-expect-error a method that broker.ts does not declare
    const otherMethod: Methods<typeof broker> = { ...methods, 'kitchen.smell.v1': async () => ({}) };
    const wrongReply: Methods<typeof broker> = {
      // @ts-expect-error not what the method responds with
      'kitchen.taste.v1': async ({ dishId }) => ({ good: dishId }),
    };
    compiles(missing, tooMany, oneVersion, wrongField, noMethod, otherMethod, wrongReply);
  },
  () => {
    const fitting = { name: 'kitchen', broker, handlers, methods, ...parts } as const;
    defineService<object, object, typeof broker>(fitting);
    defineService(fitting);
    const { handlers: _, ...noHandlers } = fitting;
    // @ts-expect-error no handlers
    defineService<object, object, typeof broker>(noHandlers);
    const { methods: __, ...noMethods } = fitting;
    // @ts-expect-error no methods
    defineService<object, object, typeof broker>(noMethods);
    // @ts-expect-error the broker.ts of another service
    defineService<object, object, typeof broker>({ ...fitting, name: 'garden' });
    // @ts-expect-error handlers without a broker.ts
    defineService<object, object>({ name: 'kitchen', handlers, ...parts });
  },
  () => {
    // @ts-expect-error an event of another service is not published
    defineBroker('kitchen', { vhosts: { publish: { publications: { 'garden.planted.v1': planted } } } });
    defineBroker('kitchen', {
      vhosts: {
        publish,
        consume: {
          subscriptions: {
            // @ts-expect-error a queue of another service
            'garden.garden.planted': {
              event: planted,
              ...standard,
              deadLetters: 'garden.garden.planted.dlq',
            },
          },
        },
      },
    });
    defineBroker('kitchen', {
      vhosts: {
        publish,
        consume: {
          subscriptions: {
            // @ts-expect-error the dead letters of another queue
            'kitchen.garden.planted': { event: planted, ...standard, deadLetters: 'kitchen.garden.dug.dlq' },
          },
        },
      },
    });
    defineBroker('kitchen', {
      vhosts: {
        publish,
        consume: {
          subscriptions: {
            // @ts-expect-error no delivery limit
            'kitchen.rpc': { methods: { 'kitchen.taste.v1': taste }, prefetch: 7 },
          },
        },
      },
    });
    defineBroker('garden', {
      vhosts: {
        publish: {},
        consume: {
          subscriptions: {
            // @ts-expect-error a method of another service
            'garden.rpc': requests,
          },
        },
      },
    });
    defineBroker('kitchen', {
      vhosts: {
        publish,
        consume: {
          subscriptions: {
            // @ts-expect-error a setting that nothing reads
            'kitchen.reply': { exclusive: true, prefetch: 9, retry: RETRY_DELAYS },
          },
        },
      },
    });
    defineBroker('kitchen', {
      vhosts: {
        publish,
        consume: {
          subscriptions: {
            'kitchen.garden.planted': {
              event: planted,
              ...standard,
              // @ts-expect-error not a duration
              retry: ['10 seconds'],
              deadLetters: 'kitchen.garden.planted.dlq',
            },
          },
        },
      },
    });
  },
);
