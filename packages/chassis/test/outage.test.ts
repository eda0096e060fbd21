import { buildEvent } from '@warren/events';
import {
  type TcpProxy as Cable,
  eventually,
  freePort,
  managementOf,
  openProxy,
  withBroker,
  withDatabase,
} from '@warren/testkit';
import { expect } from 'chai';
import { newId } from '../src/id.ts';
import { type RunningService, start } from '../src/service/start.ts';
import { createLog } from '../src/telemetry/index.ts';
import { silent } from './fixtures/relay.ts';
import { hear, listener, written } from './fixtures/services.ts';

interface Line {
  level: string;
  msg: string;
  err?: { message: string };
  [field: string]: unknown;
}

describe('an outage of the broker, as the person on call sees it', () => {
  const broker = withBroker({ services: ['alpha', 'beta'] });
  const database = withDatabase();
  const lines: Line[] = [];
  let line: Cable;
  let beta: RunningService;

  const api = () => managementOf({ url: broker.adminUrl, managementUrl: broker.managementUrl });
  const vhost = () => encodeURIComponent(broker.vhost);
  const user = () => encodeURIComponent(`${broker.vhost}.beta`);
  const readyz = async () =>
    (await (await fetch(`${beta.adminUrl}/readyz`)).json()) as { broker: string; brokerProblem?: string };
  const connected = () =>
    eventually(async () => expect((await readyz()).broker).to.equal('connected'), { timeout: 20_000 });
  const heard = async () =>
    (await database.admin<{ n: number }>('select count(*)::int n from heard'))[0]?.n as number;
  const publish = () =>
    broker.publish(
      'events',
      written.routingKey,
      buildEvent(written, {
        id: newId(),
        source: '/alpha',
        time: new Date(),
        data: { noteId: newId(), text: 'x' },
      }),
    );
  /** Waits until a message gets through. */
  const hears = async () => {
    const before = await heard();
    await eventually(async () => {
      await publish();
      expect(await heard()).to.be.above(before);
    });
  };

  before(async () => {
    line = await openProxy(broker.url('beta'));
    beta = await start(
      listener('beta', hear),
      { PORT: '0', ADMIN_PORT: '0', AMQP_URL: line.url, DATABASE_URL: database.url },
      {
        log: createLog({
          service: 'beta',
          version: '1',
          level: 'info',
          stream: { write: (text) => lines.push(JSON.parse(text)) },
        }),
      },
    );
    await connected();
  });
  beforeEach(() => {
    lines.length = 0;
  });
  after(async () => {
    await beta?.stop();
    await line?.close();
  });

  it('ends when the connections are lost in any order', async function () {
    this.timeout(60_000);
    for (let round = 0; round < 20; round += 1) {
      line.cut(round / 2);
      await eventually(async () => expect((await readyz()).broker).to.equal('connecting'));
      await connected();
    }
    await hears();
  });

  it('is logged with the reason that ended the connection', async () => {
    line.cut();
    await eventually(() => expect(lines.at(-1)?.msg).to.equal('broker recovered'));
    const [warning, ...more] = lines.filter(({ level }) => level === 'warn');
    expect(more).to.deep.equal([]);
    expect(warning?.msg).to.match(/^broker unavailable: (read ECONNRESET|Unexpected close)/);
    expect(lines.at(-1)).to.deep.include({ msg: 'broker recovered', was: warning?.msg });
    expect(lines.at(-1)?.seconds).to.be.within(0, 20);
  });

  it('is logged as a refusal, too, after it was logged as an outage', async function () {
    this.timeout(40_000);
    await api().request('DELETE', `permissions/${vhost()}/${user()}`);
    line.cut();
    await eventually(async () =>
      expect((await readyz()).brokerProblem).to.match(/^the broker refused this service: .*vhost/),
    );
    const own = '^(beta\\..*|events|rpc)$';
    await api().request('PUT', `permissions/${vhost()}/${user()}`, {
      configure: '^beta\\.',
      write: own,
      read: own,
    });
    await connected();
    expect(lines.map(({ level }) => level)).to.deep.equal(['warn', 'error', 'info']);
  });

  it('ends with the queue bound again, when the exchange was deleted and imported again', async function () {
    this.timeout(60_000);
    await api().request('DELETE', `exchanges/${vhost()}/events`);
    await eventually(async () => expect((await readyz()).brokerProblem).to.match(/definitions\.json/));
    await api().request('PUT', `exchanges/${vhost()}/events`, {
      type: 'topic',
      durable: true,
      arguments: { 'alternate-exchange': 'unrouted' },
    });
    await hears();
    await eventually(async () => expect((await readyz()).broker).to.equal('connected'), {
      timeout: 30_000,
    });
  });

  it('ends with the delay queue declared again, when somebody deleted it', async function () {
    this.timeout(40_000);
    await broker.deleteQueue('beta.retry.1s');
    await eventually(async () => expect(await broker.queueDepth('beta.retry.1s')).to.equal(0));
    await connected();
    expect(lines[0]?.msg).to.match(
      /^an exchange, queue or binding was deleted on the broker: .*no queue 'beta\.retry\.1s'/,
    );
  });
});

describe('a database that is unavailable from the start', () => {
  const broker = withBroker({ services: ['alpha', 'beta'] });

  it('shows in a metric, too: the connection is lost', async () => {
    const adminPort = await freePort();
    const stop = new AbortController();
    const starting = start(
      listener('beta', hear),
      {
        PORT: '0',
        ADMIN_PORT: String(adminPort),
        AMQP_URL: broker.url('beta'),
        DATABASE_URL: 'postgres://beta:beta@127.0.0.1:1/beta',
      },
      { log: silent, signal: stop.signal },
    );
    try {
      const metrics = await eventually(async () =>
        (await fetch(`http://127.0.0.1:${adminPort}/metrics`)).text(),
      );
      expect(metrics).to.match(/^db_pool_connections\{.*state="idle".*\} 0$/m);
    } finally {
      stop.abort();
      await starting.catch(() => {});
    }
  });
});
