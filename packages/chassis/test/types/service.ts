// What compiles, and what does not, for a service on the package; the types of routes and of broker.ts have tests of their own.
// `make check` compiles this file; it is not run.
import {
  type CounterDefinition,
  defineBroker,
  defineService,
  duration,
  type Generated,
  get,
  type Handlers,
  Joi,
  own,
  port,
  problem,
  RETRY_DELAYS,
  type ReadContext,
  type RequestMethod,
  type Route,
  type RunningService,
  start,
  toPage,
  type WorkContext,
  type Worker,
} from '@warren/chassis';
import { defineEvent, defineMethod, uuid } from '@warren/events';

interface Schema {
  parcels: { id: string; order_id: string; packed_at: Generated<Date> };
}
interface Config {
  PORT: number;
  PACKING_TIME: number;
}

const confirmed = defineEvent<{ orderId: string }>({
  type: 'order.confirmed',
  version: 1,
  data: { orderId: uuid().required() },
});
const packed = defineEvent<{ parcelId: string }>({
  type: 'parcel.packed',
  version: 1,
  data: { parcelId: uuid().required() },
});
const parcelled = {
  name: 'parcels_total',
  help: 'Parcels, by size.',
  labels: { size: ['small', 'large'] },
} satisfies CounterDefinition<{ size: 'small' | 'large' }>;

// --- The unit of work ---

export async function pack(work: WorkContext<Schema, Config>, orderId: string): Promise<void> {
  await work.transaction.insertInto('parcels').values({ id: '1', order_id: orderId }).execute();
  // @ts-expect-error the schema has no such table
  await work.transaction.insertInto('orders').values({ id: '1' }).execute();
  // @ts-expect-error a column is missing
  await work.transaction.insertInto('parcels').values({ id: '1' }).execute();
  await work.emit(packed, { parcelId: '1' }, { aggregate: '1' });
  // @ts-expect-error the event has other data
  await work.emit(packed, { orderId }, { aggregate: '1' });
  // @ts-expect-error events are ordered by their aggregate
  await work.emit(packed, { parcelId: '1' });
  await work.schedule('parcel.ship', {
    key: '1',
    at: new Date(work.now().getTime() + work.config.PACKING_TIME),
  });
  // @ts-expect-error a task has a key
  await work.schedule('parcel.ship', { at: new Date() });
  work.count<{ size: 'small' | 'large' }>(parcelled, { size: 'small' });
  // @ts-expect-error the label has no such value
  work.count<{ size: 'small' | 'large' }>(parcelled, { size: 'huge' });
  // @ts-expect-error a setting that config.ts does not have
  work.config.SHIPPING_TIME;
}

export async function read(context: ReadContext<Schema, Config>): Promise<void> {
  const rows = await context.database.selectFrom('parcels').selectAll().execute();
  toPage(rows, 10, ({ id, packed_at }) => ({ id, packedAt: packed_at.toISOString() })).next satisfies
    | string
    | null;
  // @ts-expect-error a read emits nothing
  await context.emit(packed, { parcelId: '1' }, { aggregate: '1' });
}

const find = defineMethod<{ orderId: string }, { paid: boolean }>({
  method: 'order.find',
  version: 1,
  callers: ['parcel'],
  access: 'operator',
  request: { orderId: uuid().required() },
  reply: { paid: Joi.boolean().required() },
});
export async function request(send: RequestMethod): Promise<void> {
  (await send(find, { orderId: '1' }, { timeout: 1_000 })).paid satisfies boolean;
  // @ts-expect-error the request has another field
  await send(find, { parcelId: '1' });
  // @ts-expect-error the reply has no such field
  (await send(find, { orderId: '1' })).refunded;
}

// --- The service ---

const broker = defineBroker('parcel', {
  vhosts: {
    publish: { publications: { 'parcel.packed.v1': packed } },
    consume: {
      subscriptions: {
        'parcel.order.confirmed': {
          event: confirmed,
          prefetch: 10,
          redeliveries: { limit: 10 },
          retry: RETRY_DELAYS,
          deadLetters: 'parcel.order.confirmed.dlq',
        },
      },
    },
  },
});
const handlers: Handlers<typeof broker, Schema, Config> = {
  'parcel.order.confirmed': {
    key: ({ data }) => data.orderId,
    handle: ({ data }, work) => pack(work, data.orderId),
  },
};
const routes: Route<Schema, Config>[] = [
  get(
    '/parcels/:id',
    { access: own(({ params }) => params.id), responses: { 200: Joi.object() } },
    async ({ params }) => {
      params.id satisfies string;
      throw problem(404, { code: 'parcel_unknown' });
    },
  ),
];
const ship: Worker<{ address: string }, number, Schema, Config> = {
  kind: 'parcel.ship',
  perform: async ({ data }) => data.address.length,
  complete: async (_, length, { config }) => void (length + config.PACKING_TIME),
};
// @ts-expect-error the result of perform is what complete gets
({ ...ship, perform: async () => 'text' }) satisfies Worker<{ address: string }, number, Schema, Config>;

const parts = {
  name: 'parcel' as const,
  version: '0.1.0',
  config: { PORT: port(3007), PACKING_TIME: duration('1s') },
  migrations: new URL('../migrations/', import.meta.url),
  broker,
  routes,
  workers: [ship],
};
export const service = defineService<Config, Schema, typeof broker>({ ...parts, handlers });
// @ts-expect-error handlers for the queue of broker.ts are missing
defineService<Config, Schema, typeof broker>(parts);
defineService<Config, Schema, typeof broker>({
  ...parts,
  handlers,
  // @ts-expect-error a variable that the type of the configuration lacks
  config: { ...parts.config, SHIPPING_TIME: duration('1s') },
});

export const running: Promise<RunningService> = start(service, { PORT: '0' });
// @ts-expect-error an environment holds text
start(service, { PORT: 0 });
