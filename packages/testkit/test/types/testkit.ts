// What compiles, and what does not, for users of the package. `make check` compiles this file; it is not run.
import { defineEvent, uuid } from '@warren/events';
import {
  client,
  environmentOf,
  eventually,
  message,
  type TestBroker,
  type TestDatabase,
  withBroker,
  withDatabase,
  withKeys,
  withReplicas,
} from '@warren/testkit';

const packed = defineEvent<{ parcelId: string }>({
  type: 'parcel.packed',
  version: 1,
  data: { parcelId: uuid().required() },
});

export async function test(broker: TestBroker, database: TestDatabase): Promise<void> {
  const { published, event } = message(packed, { parcelId: '1' }, { subject: '1' });
  await broker.publish(...published);
  event.data.parcelId satisfies string;
  // @ts-expect-error data of another shape
  message(packed, { parcel: '1' });

  const [row] = await database.admin<{ n: number }>('select 1 as n');
  // @ts-expect-error there may be no row
  row.n;
  row?.n satisfies number | undefined;

  const replicas = withReplicas(async () => ({ ready: () => true, stop: async () => {} }), {
    name: 'parcel',
    broker,
    database,
  });
  await (await replicas.start({ LOG_LEVEL: 'info' })).stop();
  // @ts-expect-error what is started can be stopped
  withReplicas(async () => ({ ready: () => true }), { name: 'parcel', broker, database });

  environmentOf('parcel', { broker, database }).AMQP_URL satisfies string;
  (await client('http://127.0.0.1').get('/')).status satisfies number;
  // @ts-expect-error a body is an object
  await client('http://127.0.0.1').post('/', 'text');
  await eventually(() => true, { timeout: 1_000 });
  // @ts-expect-error a time is in milliseconds
  await eventually(() => true, { timeout: '1s' });
}

withBroker({ services: ['parcel'] }) satisfies TestBroker;
withDatabase({ private: true }) satisfies TestDatabase;
// @ts-expect-error a service is named
withBroker({ services: 'parcel' });
// @ts-expect-error the keys are those of a service
withKeys({});
