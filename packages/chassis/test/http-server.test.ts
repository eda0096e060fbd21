import { once } from 'node:events';
import { Agent, request as httpRequest, type IncomingMessage } from 'node:http';
import { connect, type Socket } from 'node:net';
import { platform } from 'node:os';
import { Joi } from '@warren/events';
import { eventually } from '@warren/testkit';
import { expect } from 'chai';
import type { UnitsOfWork } from '../src/context.ts';
import { WarrenError } from '../src/errors.ts';
import { createAdmin } from '../src/http/admin.ts';
import { get, post } from '../src/http/routes.ts';
import { createHttpServer, type Server } from '../src/http/server.ts';
import { closeWebs, json, openWeb, type WebOptions } from './http-fixture.ts';

/** A handler in whose way one can stand. */
function gate() {
  const entered = Promise.withResolvers<AbortSignal | undefined>();
  const { promise, resolve: open } = Promise.withResolvers<object>();
  const handler = async (_: unknown, { signal }: { signal?: AbortSignal }) => {
    entered.resolve(signal);
    return promise;
  };
  return { handler, entered: entered.promise, open: () => open({ done: true }) };
}

const untilAborted = (signal: AbortSignal) =>
  new Promise<never>((_, reject) =>
    signal.addEventListener('abort', () => reject(signal.reason), { once: true }),
  );

// Transactions as far as these tests see them: they end when their signal is aborted.
const fakeUnits = { run: async (_, run) => run({ signal: _.signal } as never) } as UnitsOfWork;

describe('a request past its deadline', () => {
  afterEach(closeWebs);

  it('gets 503 with Retry-After at once, and its work is aborted', async () => {
    const stopped = Promise.withResolvers<unknown>();
    const { url, access } = await openWeb({
      timeout: 100,
      routes: [
        get('/slow', { access: 'public' }, async (_, { signal }) => {
          signal.addEventListener('abort', () => stopped.resolve(signal.reason));
          return new Promise<never>(() => {}); // does not listen
        }),
      ],
    });
    const response = await fetch(`${url}/slow`, { headers: { 'x-correlation-id': 'late' } });
    expect(response.status).to.equal(503);
    expect(response.headers.get('retry-after')).to.equal('1');
    expect(await response.json()).to.include({ code: 'deadline_exceeded' });
    expect(await stopped.promise).to.include({ code: 'deadline_exceeded' });
    expect(await eventually(() => access('late') ?? false)).to.include({ status: 503, route: '/slow' });
  });

  it('is not logged as an unexpected error when its work stops at the abort', async () => {
    const { url, lines, access } = await openWeb({
      timeout: 50,
      routes: [get('/slow', { access: 'public' }, async (_, { signal }) => untilAborted(signal))],
    });
    await fetch(`${url}/slow`, { headers: { 'x-correlation-id': 'late' } });
    await eventually(() => access('late') ?? false);
    expect(lines.filter(({ msg }) => msg !== 'request')).to.deep.equal([]);
  });

  it('is answered 408 when it is its body that does not come', async () => {
    const { port } = await openWeb({
      timeout: 100,
      routes: [post('/users', { access: 'public', body: Joi.object() }, async () => ({}))],
    });
    const head =
      'POST /users HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{"a"';
    const { answer } = await talk(port, head);
    expect(await answer).to.match(/^HTTP\/1\.1 408 /);
  });
});

describe('a client that leaves', () => {
  afterEach(closeWebs);

  const leave = async (options: WebOptions, method: string, entered: Promise<unknown>) => {
    const web = await openWeb(options);
    const socket = connect(web.port, '127.0.0.1');
    socket.write(`${method} /x HTTP/1.1\r\nhost: x\r\nx-correlation-id: left\r\ncontent-length: 0\r\n\r\n`);
    await entered;
    socket.destroy();
    return web;
  };

  it('stops a GET, which is logged as 499', async () => {
    const { handler, entered } = gate();
    const { access } = await leave({ routes: [get('/x', { access: 'public' }, handler)] }, 'GET', entered);
    const signal = await entered;
    const reason = await eventually(() => (signal?.aborted ? signal.reason : false));
    expect(reason).to.be.instanceOf(WarrenError).with.property('code', 'client_gone');
    expect(await eventually(() => access('left') ?? false)).to.include({ status: 499, level: 'warn' });
  });

  it('does not stop a POST, which commits or rolls back as a whole', async () => {
    const { handler, entered, open } = gate();
    const { access, http } = await leave(
      { routes: [post('/x', { access: 'public' }, handler)], units: fakeUnits },
      'POST',
      entered,
    );
    await eventually(() => access('left') ?? false);
    expect((await entered)?.aborted).to.equal(false);
    const drained = http.drain();
    open();
    await drained;
    expect((await entered)?.aborted).to.equal(false);
  });
});

describe('a server that drains', () => {
  afterEach(closeWebs);

  it('has told clients to let go of what is idle before it does so itself, and keeps it much longer', async function () {
    this.timeout(20_000);
    const { port } = await openWeb({ routes: [get('/fast', { access: 'public' }, async () => ({}))] });
    const socket = connect(port, '127.0.0.1');
    const ask = async () => {
      socket.write('GET /fast HTTP/1.1\r\nhost: x\r\n\r\n');
      const [answer] = await once(socket, 'data');
      return String(answer);
    };
    expect(await ask()).to.match(/^HTTP\/1.1 200 .*\r\nkeep-alive: timeout=4\r\n/is);
    await new Promise((resolve) => setTimeout(resolve, 7_000));
    expect(await ask()).to.match(/^HTTP\/1.1 200 /);
    socket.destroy();
  });

  it('that is only retiring accepts and answers, and ends each connection with its answer', async () => {
    const { url, http } = await openWeb({ routes: [get('/fast', { access: 'public' }, async () => ({}))] });
    const agent = new Agent({ keepAlive: true });
    expect((await send(`${url}/fast`, agent)).headers.connection).to.equal('keep-alive');
    http.closeAfterResponse();
    for (let n = 0; n < 2; n += 1) {
      const { statusCode, headers } = await send(`${url}/fast`, agent);
      expect(statusCode).to.equal(200);
      expect(headers.connection).to.equal('close');
    }
    agent.destroy();
  });

  it('accepts no more, finishes what is in flight, and ends its keep-alive connections', async () => {
    const { handler, entered, open } = gate();
    const { url, port, http } = await openWeb({
      routes: [
        get('/slow', { access: 'public' }, handler),
        get('/fast', { access: 'public' }, async () => ({})),
      ],
    });
    const agent = new Agent({ keepAlive: true });
    const slow = send(`${url}/slow`, agent);
    await send(`${url}/fast`, agent);
    await entered;

    let drained = false;
    const draining = http.drain().then(() => {
      drained = true;
    });
    await eventually(async () => expect(await refused(port)).to.equal(true));
    expect(drained).to.equal(false);
    open();
    const response = await slow;
    expect(response.statusCode).to.equal(200);
    expect(response.headers.connection).to.equal('close');
    await draining;
    agent.destroy();
  });

  it('answers a request that arrives on an open connection meanwhile, and closes that', async () => {
    const { url, http } = await openWeb({ routes: [get('/fast', { access: 'public' }, async () => ({}))] });
    const agent = new Agent({ keepAlive: true });
    expect((await send(`${url}/fast`, agent)).headers.connection).to.equal('keep-alive');
    const draining = http.drain();
    const last = await send(`${url}/fast`, agent);
    expect(last.statusCode).to.equal(200);
    expect(last.headers.connection).to.equal('close');
    await draining;
    agent.destroy();
  });

  it('loses no request of clients that keep sending', async function () {
    this.timeout(10_000);
    const { url, http } = await openWeb({
      routes: [
        post('/x', { access: 'public', body: Joi.object({ n: Joi.number() }) }, async ({ body }) => body),
      ],
    });
    const outcomes: string[] = [];
    const clients = Array.from({ length: 20 }, async () => {
      const agent = new Agent({ keepAlive: true, maxSockets: 1 });
      for (let n = 0; ; n += 1) {
        const outcome = await send(`${url}/x`, agent, JSON.stringify({ n })).then(
          ({ statusCode }) => String(statusCode),
          (error) => error.code as string,
        );
        outcomes.push(outcome);
        if (outcome === 'ECONNREFUSED') return agent.destroy();
      }
    });
    await eventually(() => expect(outcomes.length).to.be.greaterThan(200));
    await http.drain();
    await Promise.all(clients);
    expect(new Set(outcomes)).to.deep.equal(new Set(['200', 'ECONNREFUSED']));
  });

  it('waits for work whose client already has its 503', async () => {
    const { handler, entered, open } = gate();
    const { url, http } = await openWeb({
      timeout: 50,
      routes: [get('/slow', { access: 'public' }, handler)],
    });
    expect((await fetch(`${url}/slow`)).status).to.equal(503);
    await entered;
    let drained = false;
    const draining = http.drain().then(() => {
      drained = true;
    });
    await new Promise((resolve) => setImmediate(resolve));
    expect(drained).to.equal(false);
    open();
    await draining;
  });

  it('cuts everything when its time is over', async () => {
    const { handler, entered } = gate();
    const { url, http } = await openWeb({ routes: [get('/slow', { access: 'public' }, handler)] });
    const slow = fetch(`${url}/slow`).catch((error) => error);
    await entered;
    void http.drain();
    await http.close();
    expect(await slow).to.be.instanceOf(TypeError);
  });
});

describe('an address to listen on', () => {
  const opened: Server[] = [];
  afterEach(async () => {
    await Promise.all(opened.splice(0).map((server) => server.close()));
  });
  const listen = async (host?: string) => {
    const server = createHttpServer((_, response) => response.end('here'), { requestTimeout: 10_000 });
    opened.push(server);
    return server.listen(0, host);
  };
  const answers = (port: number, host: string) =>
    fetch(`http://${host}:${port}/`).then(
      async (response) => response.text(),
      (error) => (error as { cause: { code: string } }).cause.code,
    );

  it('is this machine by default, and all addresses only if configured', async function () {
    // Linux alone gives a machine the whole of 127.0.0.0/8.
    if (platform() !== 'linux') {
      console.log('skipped: this machine has no 127.0.0.2');
      this.skip();
    }
    const local = await listen();
    expect(await answers(local, '127.0.0.1')).to.equal('here');
    expect(await answers(local, '127.0.0.2')).to.equal('ECONNREFUSED');
    for (const host of ['::', '0.0.0.0']) {
      const open = await listen(host);
      expect(await answers(open, '127.0.0.1'), host).to.equal('here');
      expect(await answers(open, '127.0.0.2'), host).to.equal('here');
    }
    const other = await listen('127.0.0.2');
    expect(await answers(other, '127.0.0.2')).to.equal('here');
    expect(await answers(other, '127.0.0.1')).to.equal('ECONNREFUSED');
  });

  it('that is not of this machine is named in one sentence', async () => {
    const error = await listen('203.0.113.7').catch((error) => error);
    expect(error).to.be.instanceOf(WarrenError).with.property('code', 'listen_failed');
    expect(error.message).to.match(/^Cannot listen on port 0 of 203\.0\.113\.7: /);
  });
});

describe('a port that is taken', () => {
  afterEach(closeWebs);

  it('is named in one sentence', async () => {
    const { port } = await openWeb({ routes: [] });
    const error = await openWeb({ routes: [], port }).catch((error) => error);
    expect(error).to.be.instanceOf(WarrenError).with.property('code', 'port_taken');
    expect(error.message).to.equal(
      `Port ${port} is in use: stop the process that listens on it, or choose another port.`,
    );
  });
});

describe('the admin server', () => {
  it('answers /metrics, /livez and /readyz, and nothing else', async () => {
    const { metrics } = await openWeb({ routes: [] });
    const readiness = { isReady: true, report: () => ({ broker: 'connecting' }) };
    const admin = createAdmin({ registry: metrics.registry, readiness });
    const url = `http://127.0.0.1:${await admin.listen(0)}`;
    try {
      const text = await (await fetch(`${url}/metrics`)).text();
      expect(text)
        .to.contain('build_info{service="test",version="1.0.0"} 1')
        .and.contain('nodejs_eventloop_lag_seconds');
      expect((await fetch(`${url}/livez`)).status).to.equal(200);
      const ready = await fetch(`${url}/readyz?verbose`);
      expect([ready.status, await ready.json()]).to.deep.equal([200, { broker: 'connecting' }]);
      readiness.isReady = false;
      expect((await fetch(`${url}/readyz`)).status).to.equal(503);
      expect((await fetch(`${url}/livez`)).status).to.equal(200);
      expect((await fetch(`${url}/users`)).status).to.equal(404);
      const posted = await fetch(`${url}/livez`, json({}));
      expect([posted.status, posted.headers.get('allow')]).to.deep.equal([405, 'GET, HEAD']);
    } finally {
      await admin.close();
      await closeWebs();
    }
  });
});

function send(url: string, agent: Agent, body?: string): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const headers =
      body === undefined ? {} : { 'content-type': 'application/json', 'content-length': body.length };
    const request = httpRequest(
      url,
      { agent, method: body === undefined ? 'GET' : 'POST', headers },
      (response) => {
        response.resume().on('end', () => resolve(response));
      },
    );
    request.on('error', reject).end(body);
  });
}

/** Sends these very bytes, and no more; resolves to what comes back until the server hangs up. */
async function talk(port: number, text: string): Promise<{ socket: Socket; answer: Promise<string> }> {
  const socket = connect(port, '127.0.0.1').setEncoding('utf8');
  const { promise, resolve } = Promise.withResolvers<string>();
  let answer = '';
  socket.on('data', (chunk) => {
    answer += chunk;
  });
  socket.on('close', () => resolve(answer));
  socket.write(text);
  return { socket, answer: promise };
}

function refused(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy();
      resolve(false);
    });
    socket.on('error', () => resolve(true));
  });
}
