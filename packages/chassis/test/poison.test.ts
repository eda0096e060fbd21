import { buildEvent } from '@warren/events';
import { eventually, withBroker, withDatabase } from '@warren/testkit';
import { expect } from 'chai';
import { newId } from '../src/id.ts';
import { type RunningService, start } from '../src/service/start.ts';
import { createLog } from '../src/telemetry/index.ts';
import { listener, written } from './fixtures/services.ts';

const DAY = 86_400_000;
const QUEUE = 'beta.alpha.written';
const DLQ = `${QUEUE}.dlq`;

describe('a message that is not an event of the contract', () => {
  // Before the broker's own: hooks run in the order in which they are written.
  after(() => beta?.stop());
  const broker = withBroker({ services: ['alpha', 'beta'] });
  const database = withDatabase();
  let beta: RunningService;
  const complaints: string[] = [];

  const event = (changes: object = {}, time = new Date()) => ({
    ...buildEvent(written, { id: newId(), source: '/alpha', time, data: { noteId: newId(), text: 'x' } }),
    ...changes,
  });
  const publish = (content: string | Buffer, properties: object = {}) =>
    broker.publish('events', 'alpha.written.v1', content, properties);
  const handled = async () =>
    (await database.admin<{ n: number }>('select count(*)::int n from heard'))[0]?.n as number;

  before(async () => {
    beta = await start(
      listener('beta'),
      {
        PORT: '0',
        ADMIN_PORT: '0',
        AMQP_URL: broker.url('beta'),
        DATABASE_URL: database.url,
        // Long enough that a message which climbed the ladder would not arrive in time.
        RETRY_DELAYS: '10m',
      },
      {
        log: createLog({
          service: 'beta',
          version: '1',
          level: 'warn',
          stream: { write: (line) => complaints.push(line) },
        }),
      },
    );
    await eventually(() => expect(beta.ready()).to.equal(true));
  });

  const poison: [string, () => string | Buffer, string, string | RegExp][] = [
    ['not JSON', () => 'hello', 'not_json', /is not JSON/],
    ['not UTF-8', () => Buffer.from([0x22, 0xff, 0xfe, 0x22]), 'not_json', /is not JSON/],
    ['nothing at all', () => '', 'not_json', /0 bytes/],
    [
      'JSON, but no CloudEvent',
      () => JSON.stringify({ user: 'x' }),
      'not_cloudevent',
      /specversion is required/,
    ],
    ['JSON, but no object', () => '[1,2]', 'not_cloudevent', /must be of type object/],
    [
      'an id that is not text',
      () => JSON.stringify(event({ id: 1 })),
      'invalid_attribute',
      /id must be a string/,
    ],
    [
      'wrong fields',
      () => JSON.stringify(event({ data: { noteId: 1 } })),
      'invalid_data',
      /data\.noteId must be a string/,
    ],
    [
      'an unknown version',
      () => JSON.stringify(event({ dataschema: 'urn:warren:alpha.written:v9' })),
      'unknown_version',
      /v9/,
    ],
    [
      'an unknown type',
      () => JSON.stringify(event({ type: 'alpha.erased' })),
      'unknown_type',
      /alpha\.erased/,
    ],
    ['1 MiB of nonsense', () => Buffer.alloc(1024 * 1024, '{"a":'), 'not_json', /1048576 bytes/],
    [
      'older than the inbox remembers',
      () => JSON.stringify(event({}, new Date(Date.now() - 31 * DAY))),
      'expired',
      /older than the inbox/,
    ],
    ['deeply nested', () => '['.repeat(50_000), 'not_json', /is not JSON/],
  ];

  for (const [what, content, reason, message] of poison) {
    it(`is dead-lettered at once, byte for byte, when it is ${what}`, async () => {
      const before = await handled();
      const bytes = Buffer.from(content());
      await publish(bytes, { messageId: 'poison' });
      await publish(JSON.stringify(event()));

      await eventually(async () => expect(await handled()).to.equal(before + 1));
      await eventually(async () => expect(await broker.queueDepth(DLQ)).to.equal(1));
      const [dead] = await broker.get(DLQ, { remove: true });
      expect(dead?.content.equals(bytes)).to.equal(true);
      expect(dead?.properties.headers).to.deep.include({
        'x-warren-reason': reason,
        'x-warren-queue': QUEUE,
        'x-warren-attempts': 1,
        'x-warren-routing-key': 'alpha.written.v1',
      });
      expect(dead?.properties.headers?.['x-warren-error']).to.match(
        message instanceof RegExp ? message : new RegExp(message),
      );
      expect(await broker.queueDepth(QUEUE)).to.equal(0);
    });
  }

  const tricks: [string, object][] = [
    ['a content type that promises JSON', { contentType: 'application/json' }],
    [
      'headers that imitate the client library',
      { headers: { rascal: { encryption: { name: 'x' }, recovery: { [QUEUE]: { immediateNack: true } } } } },
    ],
    [
      'a headers table where a map should be',
      { headers: { rascal: 'text', 'x-death': 'text', 'x-warren-attempts': 'many' } },
    ],
    ['an expiration and a reply address', { expiration: '600000', replyTo: 'nowhere' }],
    ['50 kB of headers', { headers: { big: 'x'.repeat(50_000) } }],
    ['headers that leave no room for ours', { headers: { big: 'x'.repeat(65_000) } }],
  ];

  for (const [what, properties] of tricks) {
    it(`reaches the dead-letter queue also with ${what}`, async () => {
      await publish('hello', properties);

      await eventually(async () => expect(await broker.queueDepth(DLQ)).to.equal(1));
      const [dead] = await broker.get(DLQ, { remove: true });
      expect(dead?.content.toString()).to.equal('hello');
    });
  }

  it('reaches the dead-letter queue also with the user id of another user', async () => {
    await publish('hello');

    await eventually(async () => expect(await broker.queueDepth(DLQ)).to.equal(1));
    await broker.get(DLQ, { remove: true });
  });

  it('is handled when it is an event with unknown fields', async () => {
    const before = await handled();
    await publish(JSON.stringify(event({ extra: 1, data: { noteId: newId(), text: 'x', colour: 'red' } })));
    await eventually(async () => expect(await handled()).to.equal(before + 1));
  });

  it('does not delay 500 valid ones around it', async () => {
    const before = await handled();
    for (let i = 0; i < 500; i += 1) {
      if (i % 50 === 0) await publish('hello');
      await publish(JSON.stringify(event()));
    }
    await eventually(async () => expect(await handled()).to.equal(before + 500));
    await eventually(async () => expect(await broker.queueDepth(DLQ)).to.equal(10));
    await broker.purge(DLQ);
  });

  it('has one effect when it is delivered 1,000 times', async () => {
    const before = await handled();
    const content = JSON.stringify(event());
    for (let i = 0; i < 1_000; i += 1) await publish(content);
    const duplicates = async () =>
      (await beta.metrics.eventsConsumed.get()).values.find(({ labels }) => labels.outcome === 'duplicate')
        ?.value;
    await eventually(async () => expect(await duplicates()).to.equal(999), { timeout: 20_000 });
    expect(await handled()).to.equal(before + 1);
  });

  it('has ended no connection in all of these tests', () => {
    expect(complaints.filter((line) => /^(the )?broker /.test(JSON.parse(line).msg))).to.deep.equal([]);
  });
});
