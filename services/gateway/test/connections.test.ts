import { type RunningService, start } from '@warren/chassis';
import { eventually } from '@warren/testkit';
import { expect } from 'chai';
import { service } from '../src/service.ts';
import { ask, closeGateways, openGateway, type Talk, talk } from './gateway.ts';
import { openUpstream, type Upstream } from './upstream.ts';

const GET = 'GET /users HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n';
const UNFINISHED = 'GET /users HTTP/1.1\r\nhost: x\r\nx: ';
const ONE = '127.0.0.2';
const OTHER = '127.0.0.3';

describe('connections', () => {
  let user: Upstream;
  const talks: Talk[] = [];
  const open = (port: number, text: string, address = ONE) => {
    const one = talk(port, text, address);
    talks.push(one);
    return one;
  };
  /** A connection with a request whose body is still to come; resolves when the gateway has its head. */
  const occupy = async (port: number) => {
    const one = open(
      port,
      'POST /users HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n',
    );
    await eventually(() => one.text().startsWith('HTTP/1.1 100 '));
    return one;
  };
  const fromAddress = async (port: number, address: string) => (await talk(port, GET, address).ended).text;
  const refusedBy = async ({ metrics }: RunningService, bound: string) => {
    const { values } = await (metrics.registry.getSingleMetric('gateway_refused_total') as Counted).get();
    return values.find(({ labels }) => labels.bound === bound)?.value;
  };

  beforeEach(async () => {
    user = await openUpstream();
  });
  afterEach(async () => {
    for (const one of talks.splice(0)) one.destroy();
    await closeGateways();
    await user.close();
  });

  it('of one client are limited: only that client is refused, and only until it closes some', async () => {
    const gateway = await openGateway({ USER_URL: user.url, MAX_CLIENT_CONNECTIONS: '5' });
    const { port } = gateway;
    const held = Array.from({ length: 5 }, () => open(port, `${UNFINISHED}${'a'.repeat(15_000)}`));
    await eventually(async () => expect(await fromAddress(port, ONE)).to.equal(''));
    expect(await fromAddress(port, OTHER)).to.match(/^HTTP\/1\.1 200 /);
    expect(await refusedBy(gateway, 'client_connections')).to.be.greaterThan(0);
    expect(await refusedBy(gateway, 'connections')).to.equal(0);
    held[0]?.destroy();
    await eventually(async () => expect(await fromAddress(port, ONE)).to.match(/^HTTP\/1\.1 200 /));
  });

  it('of a trusted proxy do not count as those of one client', async () => {
    const settings = { USER_URL: user.url, MAX_CLIENT_CONNECTIONS: '5' };
    for (const trust of ['1', `10.0.0.0/8,${ONE}`]) {
      const gateway = await openGateway({ ...settings, TRUST_PROXY: trust });
      const held = Array.from({ length: 50 }, (_, at) =>
        open(
          gateway.port,
          `GET /users HTTP/1.1\r\nhost: x\r\nx-forwarded-for: 203.0.113.${at}:51001\r\n\r\n`,
        ),
      );
      for (const one of held) await eventually(() => one.text().startsWith('HTTP/1.1 200 '));
      expect(await refusedBy(gateway, 'client_connections')).to.equal(0);
    }
    const gateway = await openGateway({ ...settings, TRUST_PROXY: '10.0.0.0/8' });
    for (let at = 0; at < 5; at += 1) open(gateway.port, UNFINISHED);
    await eventually(async () => expect(await fromAddress(gateway.port, ONE)).to.equal(''));
  });

  it('in total are limited: idle ones are closed for new ones, those with a request in flight are not', async () => {
    const gateway = await openGateway({ USER_URL: user.url, MAX_CONNECTIONS: '6' });
    const { port } = gateway;
    const idle = Array.from({ length: 6 }, () => open(port, GET.replace('connection: close\r\n', '')));
    for (const one of idle) await eventually(() => one.text().startsWith('HTTP/1.1 200 '));
    for (let at = 0; at < 6; at += 1) await occupy(port);
    await Promise.all(idle.map(({ ended }) => ended));
    expect(await refusedBy(gateway, 'connections')).to.equal(0);
    expect(await fromAddress(port, OTHER)).to.equal('');
    expect(await refusedBy(gateway, 'connections')).to.be.greaterThan(0);
    for (const one of talks.splice(0)) one.destroy();
    await eventually(async () => expect(await fromAddress(port, OTHER)).to.match(/^HTTP\/1\.1 200 /));
  });

  it('hold no more headers of unanswered requests than HEADER_MEMORY', async () => {
    await user.close();
    user = await openUpstream(() => {});
    const gateway = await openGateway({ USER_URL: user.url, HEADER_MEMORY: '64kb', UPSTREAM_WAIT: '10s' });
    const { port } = gateway;
    const request = `GET /users HTTP/1.1\r\nhost: x\r\nx: ${'a'.repeat(3_000)}\r\n\r\n`;
    const { ended } = open(port, request.repeat(20));
    expect(await ended).to.deep.equal({ text: '', reset: true });
    expect(await refusedBy(gateway, 'header_memory')).to.be.greaterThan(0);
    expect(user.heads.length).to.be.lessThan(6);
    // All of it is free again.
    await eventually(() => user.connections.every(({ socket }) => socket.destroyed));
    const before = user.heads.length;
    for (let at = 0; at < 5; at += 1) open(port, request);
    await eventually(() => user.heads.length === before + 5);
  });

  it('that are refused are logged at a reduced rate, with the limit that was reached', async () => {
    const lines: Record<string, unknown>[] = [];
    const write = (level: string) => (fields: object, msg: string) => lines.push({ level, msg, ...fields });
    const log = {
      ...Object.fromEntries(
        ['trace', 'debug', 'info', 'warn', 'error', 'fatal'].map((is) => [is, write(is)]),
      ),
      child: () => log,
    } as never;
    const gateway = await start(
      service,
      {
        PORT: '0',
        ADMIN_PORT: '0',
        AMQP_URL: 'amqp://127.0.0.1:9',
        USER_URL: user.url,
        MAX_CONNECTIONS: '1',
      },
      { log },
    );
    try {
      await occupy(gateway.port);
      for (let at = 0; at < 30; at += 1) expect(await fromAddress(gateway.port, OTHER)).to.equal('');
      const told = lines.filter(({ bound }) => bound === 'connections');
      expect(told.length).to.be.within(1, 10);
      expect(told[0]).to.include({ level: 'warn', client: OTHER, omitted: 0 });
      expect(told[0]?.msg).to.equal('connection refused: MAX_CONNECTIONS reached and none is idle');
    } finally {
      for (const one of talks.splice(0)) one.destroy();
      await gateway.stop();
    }
  });

  it('that end while several requests wait abort all their upstream requests', async () => {
    await user.close();
    user = await openUpstream(() => {});
    const { port, metrics } = await openGateway({ USER_URL: user.url });
    const pipelined = open(port, 'GET /users HTTP/1.1\r\nhost: x\r\n\r\n'.repeat(5));
    await eventually(() => user.heads.length === 5);
    pipelined.destroy();
    await eventually(() => user.connections.every(({ socket }) => socket.destroyed));
    await eventually(async () => {
      const { values } = await metrics.httpRequestDuration.get();
      const count = values.find(
        ({ labels, metricName }) => labels.status === 499 && /_count$/.test(metricName ?? ''),
      );
      expect(count?.value).to.equal(5);
    });
    expect(await ask(port, 'GET /nothing HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n')).to.match(
      / 404 /,
    );
  });
});

interface Counted {
  get(): Promise<{ values: { labels: Record<string, string>; value: number }[] }>;
}
