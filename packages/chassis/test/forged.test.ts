// An attacker has the broker user of one service, mallory, and wants beta to act on an event of alpha.
import { buildEvent } from '@warren/events';
import { eventually, managementOf, platformDefinitions, withBroker, withDatabase } from '@warren/testkit';
import { type ChannelModel, type ConfirmChannel, connect, type Options } from 'amqplib';
import { expect } from 'chai';
import { newId } from '../src/id.ts';
import { HEADERS } from '../src/messaging/failed-message-publisher.ts';
import { type RunningService, start } from '../src/service/start.ts';
import { createLog } from '../src/telemetry/index.ts';
import { listener, written } from './fixtures/services.ts';

const QUEUE = 'beta.alpha.written';
const DLQ = `${QUEUE}.dlq`;
const KEY = written.routingKey;

const none = { consumes: [], calls: [], answers: [] };
const definitions = platformDefinitions(['alpha', 'beta', 'mallory'], (service) =>
  service === 'beta' ? { ...none, consumes: [KEY] } : none,
);

interface Forgery {
  exchange: string;
  key: string;
  headers?: object;
}

/** Ways to get a message under another's routing key to `events`; each returns what to publish. */
const ways: Record<string, (channel: ConfirmChannel) => Promise<Forgery> | Forgery> = {
  directly: () => ({ exchange: 'events', key: KEY }),
  'by a CC header': () => ({ exchange: 'events', key: 'mallory.happened.v1', headers: { CC: [KEY] } }),
  'by a BCC header': () => ({ exchange: 'events', key: 'mallory.happened.v1', headers: { BCC: [KEY] } }),
  'by a queue whose dead letters go to events': async (channel) => {
    await channel.assertExchange('mallory.in', 'fanout');
    await channel.assertQueue('mallory.expiring', {
      durable: true,
      arguments: {
        'x-message-ttl': 1,
        'x-dead-letter-exchange': 'events',
        'x-dead-letter-routing-key': KEY,
      },
    });
    await channel.bindQueue('mallory.expiring', 'mallory.in', '');
    return { exchange: 'mallory.in', key: '' };
  },
  'by an exchange bound to events': async (channel) => {
    await channel.assertExchange('mallory.bound', 'topic');
    await channel.bindExchange('events', 'mallory.bound', '#');
    return { exchange: 'mallory.bound', key: KEY };
  },
  'by events as an alternate exchange': async (channel) => {
    await channel.assertExchange('mallory.alternate', 'direct', { alternateExchange: 'events' });
    return { exchange: 'mallory.alternate', key: KEY };
  },
};

describe('an event that is not published by its producer', function () {
  this.timeout(60_000);
  after(async () => {
    await connection?.close();
    await Promise.all(running.map((service) => service.stop()));
  });
  const broker = withBroker({ services: ['alpha', 'beta', 'mallory'], definitions });
  const database = withDatabase();
  const running: RunningService[] = [];
  const lines: { level: string; msg: string; code?: string; [field: string]: unknown }[] = [];
  let connection: ChannelModel;

  const eventOf = (id = newId()) =>
    buildEvent(written, { id, source: '/alpha', time: new Date(), data: { noteId: newId(), text: 'x' } });
  const publish = (properties: Options.Publish = {}, as?: string, id = newId()) =>
    broker
      .publish('events', KEY, JSON.stringify(eventOf(id)), { messageId: id, ...properties }, as)
      .then(() => id);
  const isHandled = async (id: string) =>
    (await database.admin('select 1 from heard where event_id = $1', [id])).length === 1;
  const handled = (id: string) =>
    eventually(async () => expect(await isHandled(id)).to.equal(true), { timeout: 30_000 });
  const deadLetter = async (id: string) =>
    (await broker.get(DLQ)).find(({ properties }) => properties.messageId === id);
  const counted = async (outcome: string) => {
    const [beta] = running as [RunningService];
    const { values } = await beta.metrics.messagesForged.get();
    return values.find(({ labels }) => labels.queue === QUEUE && labels.outcome === outcome)?.value;
  };
  const startBeta = async (env: Record<string, string> = {}) => {
    lines.length = 0;
    const stream = { write: (line: string) => void lines.push(JSON.parse(line)) };
    const log = createLog({ service: 'beta', version: '1', level: 'info', stream });
    const beta = await start(
      listener('beta'),
      {
        PORT: '0',
        ADMIN_PORT: '0',
        AMQP_URL: broker.url('beta'),
        DATABASE_URL: database.url,
        OPERATORS: `somebody, ${broker.operator}`,
        RETRY_DELAYS: '100ms',
        ...env,
      },
      { log },
    );
    running.push(beta);
    await eventually(() => expect(beta.ready()).to.equal(true), { timeout: 30_000 });
  };
  /** A further user of a service with the rights of the first; its URL. */
  const secondUser = async (service: 'alpha' | 'beta') => {
    const api = managementOf({ url: broker.adminUrl, managementUrl: broker.managementUrl });
    const [vhost, user] = [broker.vhost, `${broker.vhost}.${service}.next`].map(encodeURIComponent);
    await api.request('PUT', `users/${user}`, { password: 'next', tags: '' });
    api.deleteLater(`users/${user}`);
    for (const { user: of, vhost: _, ...rights } of definitions.permissions ?? [])
      if (of === service) await api.request('PUT', `permissions/${vhost}/${user}`, rights);
    for (const { user: of, vhost: _, ...rights } of definitions.topic_permissions ?? [])
      if (of === service) await api.request('PUT', `topic-permissions/${vhost}/${user}`, rights);
    const url = new URL(broker.url(service));
    url.username = user as string;
    url.password = 'next';
    return url.href;
  };
  const stopAll = () => Promise.all(running.splice(0).map((service) => service.stop()));

  before(async () => {
    await startBeta();
    connection = await connect(broker.url('mallory'));
    connection.on('error', () => {});
  });

  const names: [string, () => string | undefined][] = [
    ['without a user-id', () => undefined],
    ["with the attacker's user-id", () => `${broker.vhost}.mallory`],
    ["with the producer's user-id", () => `${broker.vhost}.alpha`],
    ["with the consumer's user-id", () => `${broker.vhost}.beta`],
    ["with the operator's user-id", () => broker.operator],
  ];
  for (const [way, prepare] of Object.entries(ways))
    for (const [which, userId] of names)
      it(`${way}, ${which}, has no effect`, async () => {
        const id = newId();
        const channel = await connection.createConfirmChannel();
        let refusal: string | undefined;
        channel.on('error', (error: Error) => {
          refusal = error.message;
        });
        const { exchange, key, headers } = await prepare(channel);
        const options = { messageId: id, persistent: true, userId: userId(), headers };
        channel.publish(exchange, key, Buffer.from(JSON.stringify(eventOf(id))), options, () => {});
        await channel.waitForConfirms().catch(() => {});

        await eventually(
          async () => {
            const dead = await deadLetter(id);
            expect(refusal ?? dead?.properties.headers?.[HEADERS.reason]).to.match(
              /^forged$|refused|403|406/,
            );
          },
          { timeout: 30_000 },
        );
        const isFalse = userId() !== undefined && userId() !== `${broker.vhost}.mallory`;
        if (isFalse) expect(refusal).to.match(/406|403/);
        // What was published after it has been handled: it would have been, too.
        await handled(await publish());
        expect(await isHandled(id)).to.equal(false);
        if (refusal === undefined) await channel.close();
      });

  it('is counted and reported, at a bounded rate', async () => {
    const before = (await counted('refused')) as number;
    for (let n = 0; n < 20; n += 1) await publish({ userId: undefined });
    await eventually(async () => expect(await counted('refused')).to.be.least(before + 20), {
      timeout: 30_000,
    });
    const warnings = lines.filter(({ code }) => code === 'forged');
    expect(warnings[0]).to.include({ level: 'warn', queue: QUEUE, msg: 'forged message refused' });
    expect(warnings.length).to.be.below((await counted('refused')) as number);
    expect(lines.filter(({ msg }) => msg === 'dead-lettered')).to.deep.equal([]);
  });

  it('is accepted from the consumer itself, and from an operator who replays a dead letter', async () => {
    const id = await publish({ userId: undefined });
    await eventually(async () => expect(await deadLetter(id)).not.to.equal(undefined), { timeout: 30_000 });
    const { content, properties } = (await deadLetter(id)) as NonNullable<
      Awaited<ReturnType<typeof deadLetter>>
    >;
    expect(properties.userId).to.equal(`${broker.vhost}.beta`);
    await broker.publish('beta.return', QUEUE, content, { ...properties, userId: broker.operator });
    await handled(id);
  });

  describe('with PRODUCER_CHECK=report', () => {
    before(async () => {
      await stopAll();
      await startBeta({ PRODUCER_CHECK: 'report' });
    });

    it('is handled, counted and reported', async () => {
      await handled(await publish({ userId: undefined }));
      expect(await counted('accepted')).to.equal(1);
      expect(lines.find(({ code }) => code === 'forged')).to.include({ msg: 'forged message accepted' });
    });
  });

  it('is accepted while passwords are rotated: NAME.next counts as NAME, as a producer and as a consumer', async () => {
    await stopAll();
    const urls = { alpha: await secondUser('alpha'), beta: await secondUser('beta') };
    for (const url of [broker.url('beta'), urls.beta]) {
      await startBeta({ AMQP_URL: url });
      for (const producer of [broker.url('alpha'), urls.alpha]) {
        const id = newId();
        const rotating = await connect(producer);
        const channel = await rotating.createConfirmChannel();
        const { username } = new URL(producer);
        const options = { messageId: id, persistent: true, userId: decodeURIComponent(username) };
        channel.publish('events', KEY, Buffer.from(JSON.stringify(eventOf(id))), options);
        await channel.waitForConfirms();
        await rotating.close();
        await handled(id);
      }
      expect(await counted('refused')).to.equal(0);
      await stopAll();
    }
  });

  it('is handled with PRODUCER_CHECK=off', async () => {
    await stopAll();
    await startBeta({ PRODUCER_CHECK: 'off' });
    await handled(await publish({ userId: undefined }));
    expect(await counted('accepted')).to.equal(0);
  });
});
