import { createServer } from 'node:http';
import type { Socket } from 'node:net';
import { Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { eventually } from '@warren/testkit';
import { expect } from 'chai';
import { Agent, request } from 'undici';

import { ask, closeGateways, openGateway, talk } from './gateway.ts';
import { ok, openUpstream, type Upstream } from './upstream.ts';

/** The default of BODY_BUFFER. Bytes */
const BUFFER = 100 * 1024;
const opened: Upstream[] = [];
const upstream = async (...how: Parameters<typeof openUpstream>) => {
  const one = await openUpstream(...how);
  opened.push(one);
  return one;
};

const problemOf = (text: string) => JSON.parse(text.slice(text.indexOf('\r\n\r\n') + 4));

describe('forwarding', () => {
  afterEach(async () => {
    await closeGateways();
    await Promise.all(opened.splice(0).map((one) => one.close()));
  });

  describe('goes by the first segment of the path', () => {
    const owners = {
      USER: ['/users', '/users/', '/users/save', '/users/1', '/create_user', '/users?limit=1&after=%2F..'],
      SESSION: ['/sessions', '/sessions/1', '/sessions?userId=1'],
      ORDER: ['/orders', '/orders/1', '/orders?userId=1'],
      PAYMENT: ['/payments', '/payments/1'],
      EMAIL: ['/emails', '/emails?userId=1'],
    };
    for (const [name, paths] of Object.entries(owners))
      it(`to ${name.toLowerCase()}: ${paths.join(' ')}`, async () => {
        const right = await upstream();
        const wrong = await upstream();
        const urls = Object.keys(owners).map((each) => [
          `${each}_URL`,
          each === name ? right.url : wrong.url,
        ]);
        const { url } = await openGateway(Object.fromEntries(urls));
        for (const path of paths) {
          const answer = await request(url + path, { method: 'POST', body: 'x' });
          expect(answer.statusCode, path).to.equal(200);
          await answer.body.dump();
        }
        expect(right.heads.map((head) => head.split(' ')[1])).to.deep.equal(paths);
        expect(wrong.connections).to.deep.equal([]);
      });

    it('and returns 404 for every other path', async () => {
      const any = await upstream();
      const { url } = await openGateway({ USER_URL: any.url });
      for (const path of ['/', '/user', '/usersX', '/Users', '/openapi', '/metrics', '/docs/x', '/readyz'])
        expect((await request(url + path)).statusCode, path).to.equal(404);
      expect(any.connections).to.deep.equal([]);
    });
  });

  it('drops hop-by-hop headers and those that Connection names both ways, and keeps the rest', async () => {
    const user = await upstream((socket) =>
      socket.write(
        [
          'HTTP/1.1 201 Created',
          'connection: keep-alive, x-internal',
          'x-internal: 1',
          'keep-alive: timeout=9',
          'proxy-authenticate: Basic',
          'location: /users/1',
          'set-cookie: a=1',
          'set-cookie: b=2',
          'x-name: Zo\xeb',
          'x-correlation-id: theirs',
          'content-security-policy: theirs',
          'content-length: 2',
          '',
          '{}',
        ].join('\r\n'),
        'latin1',
      ),
    );
    const { port } = await openGateway({ USER_URL: user.url });
    const text = await ask(
      port,
      [
        'POST /users HTTP/1.1',
        'Host: shop.example',
        'Connection: close, X-Secret, Content-Length, Idempotency-Key2',
        'X-Secret: 1',
        'Keep-Alive: timeout=5',
        'TE: trailers',
        'Trailer: x-sum',
        'Upgrade: h2c',
        'Proxy-Authorization: Basic eA==',
        'Forwarded: for=6.6.6.6',
        'X-Real-IP: 6.6.6.6',
        'X-Forwarded-For: 6.6.6.6',
        'X-Forwarded-Proto: https',
        'X-Forwarded-Host: evil.example',
        'X-Correlation-Id: mine-1',
        'X-Correlation-Id: mine-2',
        'traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
        'Idempotency-Key: k1',
        'X-Twice: 1',
        'X-Twice: 2',
        'Content-Length: 2',
        '',
        '{}',
      ].join('\r\n'),
    );
    const head = (user.heads[0] as string).split('\r\n');
    const names = head.slice(1).map((line) => line.split(':')[0]?.toLowerCase());
    expect(head[0]).to.equal('POST /users HTTP/1.1');
    for (const name of [
      'x-secret',
      'keep-alive',
      'te',
      'trailer',
      'upgrade',
      'proxy-authorization',
      'forwarded',
    ])
      expect(names, name).not.to.include(name);
    expect(names).not.to.include('x-real-ip');
    const lines = head.map((line) => line.toLowerCase());
    expect(lines).to.include.members([
      `host: 127.0.0.1:${user.port}`,
      'x-forwarded-for: 127.0.0.1',
      'x-forwarded-proto: http',
      'x-forwarded-host: shop.example',
      'idempotency-key: k1',
      'x-twice: 1',
      'x-twice: 2',
      'traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
    ]);
    const ids = lines.filter((line) => line.startsWith('x-correlation-id: '));
    expect(ids).to.have.length(1);

    const [answer] = text.split('\r\n\r\n');
    expect(answer).to.match(/^HTTP\/1\.1 201 Created/);
    expect(answer).to.match(/^location: \/users\/1$/m);
    expect(answer).to.match(/^set-cookie: a=1\r\nset-cookie: b=2$/m);
    expect(answer).to.match(/^x-name: Zo\xeb$/m);
    expect(answer).not.to.match(/x-internal|proxy-authenticate|timeout=9|theirs\r\nx-correlation/i);
    expect(answer?.match(/^content-security-policy:.*$/gim)).to.deep.equal([
      'content-security-policy: theirs',
    ]);
    expect(answer?.toLowerCase().match(/^x-correlation-id:.*$/gm)).to.deep.equal(ids);
  });

  it('forwards the correlation id of the request, or generates one and returns it', async () => {
    const user = await upstream();
    const { url } = await openGateway({ USER_URL: user.url });
    const given = await request(`${url}/users`, { headers: { 'x-correlation-id': 'abc' } });
    const made = await request(`${url}/users`);
    expect(given.headers['x-correlation-id']).to.equal('abc');
    expect(user.heads[0]).to.match(/^x-correlation-id: abc$/m);
    expect(user.heads[1]).to.contain(`x-correlation-id: ${made.headers['x-correlation-id']}`);
  });

  it('forwards HEAD, 204 and 304 without a body and with unchanged headers', async () => {
    const user = await upstream((socket, head) => {
      if (head.startsWith('HEAD')) socket.write('HTTP/1.1 200 OK\r\ncontent-length: 77\r\n\r\n');
      else if (head.startsWith('DELETE')) socket.write('HTTP/1.1 204 No Content\r\n\r\n');
      else socket.write('HTTP/1.1 304 Not Modified\r\netag: "1"\r\ncontent-length: 77\r\n\r\n');
    });
    const { port } = await openGateway({ USER_URL: user.url });
    const send = (method: string) =>
      ask(port, `${method} /users HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`);
    expect(await send('HEAD')).to.match(/^HTTP\/1\.1 200 [\s\S]*content-length: 77\r\n[\s\S]*\r\n\r\n$/i);
    expect(await send('DELETE')).to.match(
      /^HTTP\/1\.1 204 (?![\s\S]*(content-length|transfer-encoding))[\s\S]*\r\n\r\n$/i,
    );
    expect(await send('GET')).to.match(/^HTTP\/1\.1 304 [\s\S]*etag: "1"[\s\S]*\r\n\r\n$/i);
  });

  it('handles Expect: 100-continue itself, and does not forward it', async () => {
    const user = await upstream();
    const { port } = await openGateway({ USER_URL: user.url });
    const client = talk(
      port,
      'POST /users HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\nconnection: close\r\ncontent-length: 3\r\n\r\n',
    );
    await eventually(() => /^HTTP\/1\.1 100 Continue\r\n\r\n/.test(client.text()));
    client.write('abc');
    expect((await client.ended).text).to.match(/HTTP\/1\.1 200 OK/);
    expect(user.connections[0]?.received).to.match(/abc$/);
    expect(user.heads[0]).not.to.match(/expect/i);
  });

  it('reuses connections, and opens at most UPSTREAM_CONNECTIONS', async () => {
    const waiting: Socket[] = [];
    const user = await upstream((socket) => waiting.push(socket));
    const { url } = await openGateway({
      USER_URL: user.url,
      UPSTREAM_CONNECTIONS: '2',
      UPSTREAM_WAIT: '10s',
    });
    const agents = Array.from({ length: 8 }, (_, at) => new Agent({ localAddress: `127.0.0.${at + 2}` }));
    const answers = agents.map((dispatcher) =>
      request(`${url}/users`, { dispatcher }).then(({ body }) => body.text()),
    );
    for (let served = 0; served < 8; ) {
      await eventually(() => waiting.length > 0);
      for (const socket of waiting.splice(0)) {
        served += 1;
        ok(socket);
      }
    }
    expect(await Promise.all(answers)).to.deep.equal(Array(8).fill('hello'));
    expect(user.connections).to.have.length(2);
    await Promise.all(agents.map((agent) => agent.close()));
  });

  it('returns 503 with Retry-After when no connection becomes free in time', async () => {
    const user = await upstream(() => {});
    const { url } = await openGateway({
      USER_URL: user.url,
      UPSTREAM_CONNECTIONS: '1',
      UPSTREAM_WAIT: '50ms',
    });
    const first = new AbortController();
    const held = request(`${url}/users`, { signal: first.signal }).catch(() => {});
    await eventually(() => user.heads.length === 1);
    const { statusCode, headers, body } = await request(`${url}/users`);
    expect(statusCode).to.equal(503);
    expect(headers['retry-after']).to.equal('1');
    expect(await body.json()).to.include({ code: 'upstream_busy' });
    first.abort();
    await held;
  });

  describe('streams', () => {
    it('a large upload once its beginning has arrived, and a response as it arrives', async () => {
      const seen: string[] = [];
      const server = createServer((incoming, response) => {
        incoming.on('data', (chunk) => {
          const text = String(chunk).replace(/^x+/, '');
          if (text === '') return;
          seen.push(text);
          response.write(`got ${text};`);
        });
        incoming.on('end', () => response.end());
      });
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      const { port: to } = server.address() as { port: number };
      const { port } = await openGateway({ USER_URL: `http://127.0.0.1:${to}` });
      const client = talk(
        port,
        `POST /users HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: ${BUFFER + 3}\r\n\r\n${'x'.repeat(BUFFER)}`,
      );
      for (const [at, piece] of [...'abc'].entries()) {
        client.write(piece);
        await eventually(() => client.text().includes(`got ${piece};`));
        expect(seen).to.have.length(at + 1);
      }
      await client.ended;
      server.close();
    });

    it('at the pace of the slower side: a client that does not read pauses the upstream', async () => {
      const total = 64 * 1024 * 1024;
      let sent = 0;
      const server = createServer((_incoming, response) => {
        const piece = Buffer.alloc(65_536, 'x');
        const body = new Readable({
          read() {
            sent += piece.length;
            this.push(sent > total ? null : piece);
          },
        });
        body.pipe(response);
      });
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      const { port: to } = server.address() as { port: number };
      const { url } = await openGateway({ USER_URL: `http://127.0.0.1:${to}` });
      const { body } = await request(`${url}/users`);
      let before = -1;
      const stands = () => {
        const same = sent > 0 && sent === before;
        before = sent;
        return same;
      };
      await eventually(stands, { interval: 300 });
      expect(sent).to.be.lessThan(total / 2);
      let received = 0;
      for await (const chunk of body) received += chunk.length;
      expect(received).to.equal(total);
      server.close();
      server.closeAllConnections();
    });
  });

  describe('when the upstream fails', () => {
    it('returns 502 when the upstream is down', async () => {
      const { port } = await openGateway();
      for (const method of ['GET', 'POST']) {
        const text = await ask(port, `${method} /users HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`);
        expect(problemOf(text)).to.include({ status: 502, code: 'upstream_unavailable' });
        expect(text).to.match(/^retry-after: 1$/im);
      }
    });

    it('returns 504 when the upstream accepts the connection but does not respond', async () => {
      const user = await upstream(() => {});
      const { url } = await openGateway({ USER_URL: user.url, UPSTREAM_TIMEOUT: '100ms' });
      const { statusCode, body } = await request(`${url}/users`);
      expect(statusCode).to.equal(504);
      expect(await body.json()).to.include({ code: 'upstream_timeout' });
      await eventually(() => user.connections[0]?.socket.destroyed === true);
    });

    for (const [what, garbage] of Object.entries({
      'an invalid HTTP response': 'hello there\r\n\r\n',
      'two lengths': 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 4\r\n\r\nhello',
      'a length and chunks':
        'HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
      'status 099': 'HTTP/1.1 099 Odd\r\ncontent-length: 0\r\n\r\n',
      'status 099 with a body': 'HTTP/1.1 099 Odd\r\ncontent-length: 2\r\n\r\nhi',
      'status 000': 'HTTP/1.1 000 Odd\r\ncontent-length: 0\r\n\r\n',
      'status 20': 'HTTP/1.1 20 Odd\r\ncontent-length: 0\r\n\r\n',
      'status 600': 'HTTP/1.1 600 Odd\r\ncontent-length: 2\r\n\r\nhi',
      'status 999': 'HTTP/1.1 999 Odd\r\ncontent-length: 0\r\n\r\n',
      'status 1000': 'HTTP/1.1 1000 Odd\r\ncontent-length: 0\r\n\r\n',
      'a status of letters': 'HTTP/1.1 abc Odd\r\ncontent-length: 0\r\n\r\n',
      'a header with NUL': 'HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 0\r\n\r\n',
      'huge headers': `HTTP/1.1 200 OK\r\nx: ${'a'.repeat(100_000)}\r\n\r\n`,
    }))
      it(`returns 502 when the upstream responds with ${what}`, async () => {
        const user = await upstream((socket) => socket.write(garbage, 'latin1'));
        const { url } = await openGateway({ USER_URL: user.url });
        const { statusCode, body } = await request(`${url}/users`);
        expect(statusCode).to.equal(502);
        expect(await body.json()).to.include({ code: 'upstream_invalid' });
        expect(user.heads).to.have.length(1);
      });

    it('returns 502 and keeps running when the upstream sends status 600 and resets during the body', async () => {
      const user = await upstream((socket) => {
        socket.write('HTTP/1.1 600 Odd\r\ncontent-length: 10\r\n\r\nhi', () => socket.resetAndDestroy());
      });
      const { url } = await openGateway({ USER_URL: user.url });
      for (let round = 0; round < 3; round += 1)
        expect((await request(`${url}/users`, { method: 'POST' })).statusCode).to.equal(502);
      expect((await request(`${url}/docs`)).statusCode).to.equal(200);
    });

    it('returns 502 and keeps running when the upstream crashes on a damaged gzip body', async () => {
      const user = await upstream((socket) => void socket.resetAndDestroy());
      const { url } = await openGateway({ USER_URL: user.url });
      const body = gzipSync(JSON.stringify({ name: 'x'.repeat(120_000) }));
      body[body.length - 8] = (body[body.length - 8] as number) ^ 255;
      const headers = { 'content-type': 'application/json', 'content-encoding': 'gzip' };
      expect((await request(`${url}/users`, { method: 'POST', headers, body })).statusCode).to.equal(502);
      expect(user.connections[0]?.received).to.contain('content-encoding: gzip');
      expect((await request(`${url}/docs`)).statusCode).to.equal(200);
    });

    it('returns 502 when the upstream switches protocols without a request', async () => {
      const user = await upstream((socket) =>
        socket.write('HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n'),
      );
      const { url } = await openGateway({ USER_URL: user.url });
      expect((await request(`${url}/users`, { method: 'POST' })).statusCode).to.equal(502);
    });

    it('repeats a GET once when the upstream resets before its response', async () => {
      const user = await upstream((socket) => void socket.resetAndDestroy());
      const { url } = await openGateway({ USER_URL: user.url });
      expect((await request(`${url}/users`)).statusCode).to.equal(502);
      expect(user.heads).to.have.length(2);
    });

    it('never repeats an unsafe request when the upstream resets before its response', async () => {
      const user = await upstream((socket) => void socket.resetAndDestroy());
      const { url } = await openGateway({ USER_URL: user.url });
      for (const method of ['POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const)
        expect((await request(`${url}/users`, { method })).statusCode, method).to.equal(502);
      expect((await request(`${url}/users`, { method: 'GET', body: 'x' })).statusCode).to.equal(502);
      expect(user.heads).to.have.length(6);
    });

    it('hides a reset from the client when the second attempt succeeds', async () => {
      let asked = 0;
      const user = await upstream((socket) => {
        asked += 1;
        if (asked === 1) socket.destroy();
        else ok(socket);
      });
      const { url } = await openGateway({ USER_URL: user.url });
      expect(await (await request(`${url}/users`)).body.text()).to.equal('hello');
    });

    for (const [what, head] of Object.entries({
      'with a length': 'HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello',
      'in chunks': 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n',
    }))
      for (const version of ['1.1', '1.0'])
        it(`resets an HTTP/${version} client when the upstream resets during a response ${what}`, async () => {
          const user = await upstream((socket) => {
            socket.write(head);
          });
          const { port } = await openGateway({ USER_URL: user.url });
          const client = talk(port, `GET /users HTTP/${version}\r\nhost: x\r\n\r\n`);
          await eventually(() => client.text().includes('hello'));
          user.connections[0]?.socket.resetAndDestroy();
          const { text, reset } = await client.ended;
          expect(reset).to.equal(true);
          expect(text).not.to.match(/0\r\n\r\n$/);
          expect(user.heads).to.have.length(1);
        });

    it('resets the client after UPSTREAM_TIMEOUT when the upstream stalls during its response', async () => {
      const user = await upstream(
        (socket) => void socket.write('HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello'),
      );
      const { port } = await openGateway({ USER_URL: user.url, UPSTREAM_TIMEOUT: '200ms' });
      const client = talk(port, 'GET /users HTTP/1.1\r\nhost: x\r\n\r\n');
      expect(await client.ended).to.include({ reset: true });
    });

    it('forwards a response that comes before the end of the request, and keeps the connection', async () => {
      const user = await upstream(() => {}, {
        onHead: (socket) =>
          void socket.end(
            'HTTP/1.1 415 Unsupported Media Type\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno',
          ),
      });
      const { port } = await openGateway({ USER_URL: user.url });
      const client = talk(port, 'POST /users HTTP/1.1\r\nhost: x\r\ncontent-length: 500000\r\n\r\n');
      client.write('x'.repeat(110_000));
      await eventually(() => client.text().endsWith('no'));
      client.write('x'.repeat(390_000));
      client.write('GET /nothing HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n');
      expect((await client.ended).text).to.match(/^HTTP\/1\.1 415 [\s\S]*\r\n\r\nnoHTTP\/1\.1 404 /);
    });
  });

  describe('when the client fails', () => {
    it('aborts the upstream request when the client disconnects while it waits', async () => {
      const user = await upstream(() => {});
      const { port, metrics } = await openGateway({ USER_URL: user.url });
      for (const method of ['GET', 'POST']) {
        const before = user.connections.length;
        const client = talk(port, `${method} /users HTTP/1.1\r\nhost: x\r\n\r\n`);
        await eventually(() => user.heads.length === before + 1);
        client.destroy();
        await eventually(() => user.connections.every(({ socket }) => socket.destroyed));
      }
      const { values } = await metrics.httpRequestDuration.get();
      expect(values.map(({ labels }) => `${labels.route} ${labels.status}`)).to.include('/users/* 499');
    });

    const chunked = 'POST /users HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n';
    const large = `${chunked}20000\r\n${'x'.repeat(0x20000)}\r\n`;

    it('sends nothing upstream when the client disconnects during a small upload', async () => {
      const user = await upstream();
      const { port, metrics } = await openGateway({ USER_URL: user.url });
      const client = talk(port, chunked.replace('\r\n\r\n', '\r\nexpect: 100-continue\r\n\r\n3\r\nabc\r\n'));
      const requests = async () => (await metrics.httpRequestDuration.get()).values;
      await eventually(() => client.text().startsWith('HTTP/1.1 100 '));
      client.destroy();
      await eventually(async () =>
        expect((await requests()).map(({ labels }) => `${labels.route} ${labels.status}`)).to.include(
          '/users/* 499',
        ),
      );
      expect(user.connections).to.deep.equal([]);
    });

    it('sends no complete request upstream when the client disconnects during a large upload', async () => {
      const user = await upstream();
      const { port } = await openGateway({ USER_URL: user.url });
      const client = talk(port, large);
      await eventually(() => user.connections[0]?.received.includes('xxx') === true);
      client.destroy();
      await eventually(() => user.connections[0]?.socket.destroyed === true);
      expect(user.connections[0]?.received).not.to.contain('0\r\n\r\n');
    });

    it('returns 408 and sends nothing upstream when the client stalls during a small upload', async () => {
      const user = await upstream();
      const { port } = await openGateway({ USER_URL: user.url, UPSTREAM_TIMEOUT: '150ms' });
      const client = talk(port, 'POST /users HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nabc');
      expect((await client.ended).text).to.match(/^HTTP\/1\.1 408 /);
      expect(user.connections).to.deep.equal([]);
    });

    it('returns 408 and aborts the upstream request when the client stalls during a large upload', async () => {
      const user = await upstream();
      const { port } = await openGateway({ USER_URL: user.url, UPSTREAM_TIMEOUT: '500ms' });
      expect((await talk(port, large).ended).text).to.match(/^HTTP\/1\.1 408 /);
      expect(user.heads).to.have.length(1);
      await eventually(() => user.connections.every(({ socket }) => socket.destroyed));
    });

    it('returns 413 for a body over the limit, by its length or while it arrives', async () => {
      const user = await upstream();
      const { port } = await openGateway({ USER_URL: user.url, BODY_LIMIT: '10b' });
      const head = 'POST /users HTTP/1.1\r\nhost: x\r\nconnection: close\r\n';
      expect(await ask(port, `${head}content-length: 11\r\n\r\n12345678901`)).to.match(/^HTTP\/1\.1 413 /);
      expect(user.connections).to.deep.equal([]);
      const some = `${head}transfer-encoding: chunked\r\n\r\nb\r\n12345678901\r\n0\r\n\r\n`;
      expect(await ask(port, some)).to.match(/^HTTP\/1\.1 413 /);
      expect(user.connections).to.deep.equal([]);
    });

    it('returns 413 and sends no complete request upstream for a streamed body over the limit', async () => {
      const user = await upstream();
      const { port } = await openGateway({ USER_URL: user.url, BODY_LIMIT: '120kb' });
      const client = talk(port, `${large}0\r\n\r\n`);
      await eventually(() => client.text().startsWith('HTTP/1.1 413 '));
      expect(user.connections.map(({ received }) => received).join()).not.to.contain('0\r\n\r\n');
      client.destroy();
    });

    it('returns 431 and sends nothing upstream for headers over the limit', async () => {
      const user = await upstream();
      const { port } = await openGateway({ USER_URL: user.url });
      const text = await ask(port, `GET /users HTTP/1.1\r\nhost: x\r\nx: ${'a'.repeat(20_000)}\r\n\r\n`);
      expect(text).to.match(/^HTTP\/1\.1 431 /);
      expect(user.connections).to.deep.equal([]);
    });
  });
});
