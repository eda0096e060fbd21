import { connect } from 'node:net';
import { eventually } from '@warren/testkit';
import { expect } from 'chai';
import { request } from 'undici';
import { problem } from '../src/errors.ts';
import type { EdgeHandler } from '../src/http/edge.ts';
import { get } from '../src/http/routes.ts';
import { closeWebs, openWeb } from './http-fixture.ts';

const routes = [get('/mine', { access: 'public' }, async () => ({ mine: true }))];
const open = (edge: EdgeHandler, timeout?: number) => openWeb({ routes, edge, timeout });

describe('an edge handler', () => {
  afterEach(closeWebs);

  it('answers what no route matches; a route, and another method on its path, stay the chassis’s', async () => {
    const { url } = await open({
      handleUnmatched: async (_request, response) => void response.writeHead(418).end('raw'),
    });
    const raw = await request(`${url}/any/thing`, { method: 'POST', body: 'x' });
    expect([raw.statusCode, await raw.body.text()]).to.deep.equal([418, 'raw']);
    expect(await (await request(`${url}/mine`)).body.json()).to.deep.equal({ mine: true });
    expect((await request(`${url}/mine`, { method: 'POST' })).statusCode).to.equal(405);
  });

  it('is inside the exchange: correlation id, security headers it may overwrite, access line and metric by its name', async () => {
    const seen: string[] = [];
    const { url, access, metrics } = await open({
      async handleUnmatched(_request, response, context) {
        seen.push(context.correlationId);
        context.route = '/things/*';
        response.writeHead(200, { 'content-security-policy': 'mine' }).end();
      },
    });
    const { headers } = await request(`${url}/things/1`, { headers: { 'x-correlation-id': 'raw-1' } });
    expect(headers['x-correlation-id']).to.equal('raw-1');
    expect(seen).to.deep.equal(['raw-1']);
    expect(headers['content-security-policy']).to.equal('mine');
    expect(headers['x-content-type-options']).to.equal('nosniff');
    expect(await eventually(() => access('raw-1') ?? false)).to.include({ route: '/things/*', status: 200 });
    const { values } = await metrics.httpRequestDuration.get();
    expect(values[0]?.labels).to.include({ route: '/things/*' });
  });

  it('has no deadline but its own', async () => {
    const { url } = await open(
      {
        async handleUnmatched(_request, response) {
          await new Promise((resolve) => setTimeout(resolve, 150));
          response.end('late');
        },
      },
      50,
    );
    expect(await (await request(`${url}/x`)).body.text()).to.equal('late');
  });

  it('may refuse a connection before anything of it is read', async () => {
    let open = 0;
    const { port, url, http } = await openWeb({
      routes,
      edge: {
        onConnection(socket) {
          if (open === 1) return false;
          open += 1;
          socket.once('close', () => {
            open -= 1;
          });
          return true;
        },
      },
    });
    const first = connect(port, '127.0.0.1');
    await eventually(() => open === 1);
    const refused = await fetch(`${url}/mine`).catch((error: Error) => error);
    expect(refused).to.be.instanceOf(Error);
    first.destroy();
    await eventually(() => open === 0);
    expect((await fetch(`${url}/mine`)).status).to.equal(200);
    await http.close();
    await eventually(() => open === 0);
  });

  it('may refuse every request before anything else sees it', async () => {
    const { url } = await open({
      onRequest() {
        throw problem(429, { code: 'enough', headers: { 'retry-after': '3' } });
      },
    });
    for (const path of ['/mine', '/other']) {
      const { statusCode, headers, body } = await request(url + path);
      expect(statusCode).to.equal(429);
      expect(headers['retry-after']).to.equal('3');
      expect(await body.json()).to.include({ code: 'enough' });
    }
  });

  it('turns what it throws into an answer, and cuts the connection once there is half of one', async () => {
    const { url, port, access } = await open({
      async handleUnmatched({ url: path }, response) {
        if (path === '/half') {
          response.writeHead(200, { 'content-length': 10 }).write('hello');
          await new Promise((resolve) => setTimeout(resolve, 50));
        }
        throw problem(502, { code: 'gone_wrong' });
      },
    });
    const { statusCode, body } = await request(`${url}/whole`);
    expect([statusCode, ((await body.json()) as { code: string }).code]).to.deep.equal([502, 'gone_wrong']);

    const socket = connect(port, '127.0.0.1');
    socket.write('GET /half HTTP/1.1\r\nhost: x\r\nx-correlation-id: half\r\n\r\n');
    const { code } = await new Promise<NodeJS.ErrnoException>((resolve) =>
      socket.resume().once('error', resolve),
    );
    expect(code).to.equal('ECONNRESET');
    expect(await eventually(() => access('half') ?? false)).to.include({ status: 502 });
  });

  it('gets a signal when the client has disconnected, and a drain waits for it', async () => {
    const entered = Promise.withResolvers<AbortSignal>();
    const finish = Promise.withResolvers<void>();
    const { port, http, access } = await open({
      async handleUnmatched(_request, _response, { signal }) {
        entered.resolve(signal);
        await finish.promise;
      },
    });
    const socket = connect(port, '127.0.0.1');
    socket.write('POST /x HTTP/1.1\r\nhost: x\r\nx-correlation-id: left\r\ncontent-length: 0\r\n\r\n');
    const signal = await entered.promise;
    socket.destroy();
    await eventually(() => signal.aborted);
    expect(await eventually(() => access('left') ?? false)).to.include({ status: 499 });
    let drained = false;
    const drain = http.drain().then(() => {
      drained = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(drained).to.equal(false);
    finish.resolve();
    await drain;
  });
});
