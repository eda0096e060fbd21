import { buildEvent } from '@warren/events';
import { eventually, withBroker, withDatabase } from '@warren/testkit';
import { expect } from 'chai';
import { newId } from '../src/id.ts';
import { type RunningService, start } from '../src/service/start.ts';
import { createLog } from '../src/telemetry/index.ts';
import { listener, written } from './fixtures/services.ts';

const QUEUE = 'beta.alpha.written';

describe('a service whose broker connections are lost', () => {
  after(() => beta?.stop());
  const broker = withBroker({ services: ['alpha', 'beta'] });
  const database = withDatabase();
  let beta: RunningService;
  const lines: { level: string; msg: string }[] = [];

  const connections = async (method = 'GET', path = '') => {
    const { username, password, pathname } = new URL(broker.adminUrl);
    const base = new URL(broker.managementUrl);
    const url = new URL(path === '' ? `/api/vhosts/${pathname.slice(1)}/connections` : path, base.origin);
    return fetch(url, {
      method,
      headers: {
        authorization: `Basic ${btoa(`${decodeURIComponent(username)}:${decodeURIComponent(password)}`)}`,
      },
    });
  };
  const ofBeta = async () =>
    (
      (await (await connections()).json()) as {
        name: string;
        user: string;
        client_properties: { connection_name?: string };
      }[]
    ).filter(({ user }) => user.endsWith('beta'));
  /** The management API knows a connection only some seconds after its start. */
  const closeAll = async () => {
    await eventually(async () => expect(await ofBeta()).to.have.length(3), { timeout: 15_000 });
    lines.length = 0;
    for (const { name } of await ofBeta())
      await connections('DELETE', `/api/connections/${encodeURIComponent(name)}`);
  };
  const readyz = async () => {
    const answer = await fetch(`${beta.adminUrl}/readyz`);
    return { status: answer.status, body: (await answer.json()) as { broker: string } };
  };
  const handled = async () =>
    (await database.admin<{ n: number }>('select count(*)::int n from heard'))[0]?.n as number;
  const publish = () =>
    broker.publish(
      'events',
      written.routingKey,
      JSON.stringify(
        buildEvent(written, {
          id: newId(),
          source: '/alpha',
          time: new Date(),
          data: { noteId: newId(), text: 'x' },
        }),
      ),
    );

  before(async () => {
    beta = await start(
      listener('beta'),
      { PORT: '0', ADMIN_PORT: '0', AMQP_URL: broker.url('beta'), DATABASE_URL: database.url },
      {
        log: createLog({
          service: 'beta',
          version: '1',
          level: 'info',
          stream: { write: (line) => lines.push(JSON.parse(line)) },
        }),
      },
    );
    await eventually(() => expect(beta.ready()).to.equal(true));
  });

  it('names its connections', async () => {
    await eventually(async () => expect(await ofBeta()).to.have.length(3), { timeout: 15_000 });
    const names = (await ofBeta()).map(({ client_properties }) => client_properties.connection_name);
    expect(names.every((name) => name?.startsWith('beta '))).to.equal(true);
  });

  it('reconnects by itself when its connections are closed by force, logs that once, and stays ready', async () => {
    await closeAll();
    const cut = Date.now();

    expect((await readyz()).status).to.equal(200);
    await eventually(() => expect(lines.map(({ msg }) => msg)).to.include('broker recovered'), {
      timeout: 4_000,
    });
    expect(Date.now() - cut).to.be.below(4_000);
    expect((await readyz()).body.broker).to.equal('connected');
    const before = await handled();
    await publish();
    await eventually(async () => expect(await handled()).to.equal(before + 1));
    expect(lines.filter(({ level }) => level === 'warn')).to.have.length(1);
  });

  it('declares and consumes its queue again when somebody deleted it', async () => {
    await broker.deleteQueue(QUEUE);
    await eventually(async () => expect(await broker.queueDepth(QUEUE)).to.equal(0));
    const before = await handled();
    await eventually(async () => {
      await publish();
      expect(await handled()).to.be.above(before);
    });
  });

  it('logs what to do when a queue has other arguments than in broker.ts', async () => {
    await broker.deleteQueue(`${QUEUE}.dlq`);
    const { connect } = await import('amqplib');
    const admin = await connect(broker.adminUrl);
    const channel = await admin.createChannel();
    await channel.assertQueue(`${QUEUE}.dlq`, { durable: true, arguments: { 'x-queue-type': 'classic' } });
    await closeAll();

    await eventually(() =>
      expect(
        lines.some(({ msg }) =>
          /queue beta\.alpha\.written\.dlq exists with other arguments .*: drain and delete it/.test(msg),
        ),
      ).to.equal(true),
    );
    await channel.deleteQueue(`${QUEUE}.dlq`);
    await admin.close();
    await eventually(async () => expect((await readyz()).body.broker).to.equal('connected'), {
      timeout: 15_000,
    });
  });
});

describe('a broker without the definitions', () => {
  afterEach(() => beta?.stop());
  const broker = withBroker({ services: ['beta'] });
  const database = withDatabase();
  let beta: RunningService | undefined;
  const lines: string[] = [];

  const launch = async (url: string, env: Record<string, string> = {}) => {
    beta = await start(
      listener('beta'),
      { PORT: '0', ADMIN_PORT: '0', AMQP_URL: url, DATABASE_URL: database.url, ...env },
      {
        log: createLog({
          service: 'beta',
          version: '1',
          level: 'warn',
          stream: { write: (line) => lines.push(JSON.parse(line).msg) },
        }),
      },
    );
    return beta;
  };
  const withoutExchanges = async () => {
    const { connect } = await import('amqplib');
    const admin = await connect(broker.adminUrl);
    const channel = await admin.createChannel();
    for (const exchange of ['events', 'rpc', 'unrouted']) await channel.deleteExchange(exchange);
    await channel.deleteQueue('unrouted');
    await admin.close();
  };

  it('makes a service log in one sentence what to import, when its user may not declare the exchanges', async () => {
    await withoutExchanges();
    await launch(broker.url('beta'));
    await eventually(() =>
      expect(lines.join()).to.match(/import charts\/rabbitmq\/files\/definitions\.json/),
    );
    expect(beta?.ready(), 'ready, though its queue never existed').to.equal(false);
    expect(lines).to.have.length(1);
  });

  it('gets the exchanges from a service whose user may declare them', async () => {
    const service = await launch(broker.adminUrl, { PRODUCER_CHECK: 'off' });
    await eventually(() => expect(service.ready()).to.equal(true));
    await broker.publish('events', 'nobody.listens.v1', '{}');
    await eventually(async () => expect(await broker.queueDepth('unrouted')).to.equal(1));
  });
});
