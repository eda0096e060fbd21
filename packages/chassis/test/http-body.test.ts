// Bodies as the world sends them: encoded, damaged, cut off, in another charset.
import { connect } from 'node:net';
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import { Joi } from '@warren/events';
import { eventually, freePorts, startProcess } from '@warren/testkit';
import { expect } from 'chai';
import { post, type Route } from '../src/http/routes.ts';
import { closeWebs, openWeb, type Web } from './http-fixture.ts';

const CODINGS = { gzip: gzipSync, 'x-gzip': gzipSync, deflate: deflateSync, br: brotliCompressSync };
const LIMIT = 10_000;
const SMALL = Buffer.from(JSON.stringify({ name: 'Ada Lovelace, who wrote the first program' }));
const LARGE = Buffer.from(JSON.stringify({ name: 'x'.repeat(120_000) }));

const routes: Route[] = [
  post(
    '/users',
    { access: 'public', body: Joi.object({ name: Joi.string().required() }) },
    async ({ body }) => body,
  ),
];

interface Refusal {
  code: string;
  title: string;
}

async function send(url: string, body: Uint8Array, headers: Record<string, string> = {}) {
  const response = await fetch(`${url}/users`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: new Uint8Array(body),
  });
  return {
    status: response.status,
    headers: response.headers,
    body: (await response.json()) as Refusal & { name: string },
  };
}

/** A copy with every bit of that byte flipped; a negative offset counts from the end. */
function damaged(bytes: Buffer, offset: number): Buffer {
  const copy = Buffer.from(bytes);
  const at = offset < 0 ? bytes.length + offset : offset;
  copy[at] = (copy[at] as number) ^ 0xff;
  return copy;
}

/** Begins an upload, sends a part of it, and leaves. */
async function abandon(port: number, content: Buffer, headers: string): Promise<void> {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => {});
  const head = `POST /users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${content.length}\r\n${headers}\r\n`;
  await new Promise<void>((sent) =>
    socket.write(Buffer.concat([Buffer.from(head), content.subarray(0, content.length >> 1)]), () => sent()),
  );
  socket.destroy();
}

describe('a body with a content coding', () => {
  let web: Web;
  beforeEach(async () => {
    web = await openWeb({ routes, limit: LIMIT });
  });
  afterEach(closeWebs);

  for (const [coding, encode] of Object.entries(CODINGS)) {
    it(`is decoded: ${coding}, in any case`, async () => {
      for (const name of [coding, coding.toUpperCase()])
        expect((await send(web.url, encode(SMALL), { 'content-encoding': name })).status, name).to.equal(200);
    });

    it(`that is damaged at any offset is refused, and the service goes on: ${coding}`, async function () {
      this.timeout(120_000);
      const headers = { 'content-encoding': coding };
      const small = encode(SMALL);
      for (let offset = 0; offset < small.length; offset += 1) {
        const { status } = await send(web.url, damaged(small, offset), headers);
        // Some bytes carry no content (a time, an operating system), and brotli has no checksum.
        expect(status, `offset ${offset}`).to.be.oneOf([200, 400, 413]);
      }
      const large = encode(LARGE);
      for (let offset = -8; offset < 40 && offset < large.length; offset += 1) {
        const { status } = await send(web.url, damaged(large, offset), headers);
        expect(status, `offset ${offset} of a body over the limit`).to.be.oneOf([400, 413]);
      }
      for (let length = 1; length < large.length; length += 1 + (length >> 2)) {
        const { status } = await send(web.url, large.subarray(0, length), headers);
        expect(status, `cut after ${length}`).to.be.oneOf([400, 413]);
      }
      expect((await send(web.url, small, headers)).status).to.equal(200);
      await web.http.drain();
    });
  }

  it('that is damaged has a code', async () => {
    const refused = await send(web.url, damaged(gzipSync(SMALL), -8), { 'content-encoding': 'gzip' });
    expect(refused.status).to.equal(400);
    expect(refused.body).to.include({ code: 'invalid_encoding', title: 'Invalid encoding' });
  });

  it('that is unknown, or one of several, is refused with those that are accepted', async () => {
    for (const coding of ['zip', 'gzip, gzip', 'constructor']) {
      const refused = await send(web.url, SMALL, { 'content-encoding': coding });
      expect(refused.status, coding).to.equal(415);
      expect(refused.headers.get('accept-encoding')).to.equal('gzip, deflate, br');
    }
    expect((await send(web.url, SMALL, { 'content-encoding': 'Identity' })).status).to.equal(200);
  });
});

describe('an upload whose client leaves', () => {
  afterEach(closeWebs);

  for (const [coding, encode] of Object.entries({ ...CODINGS, identity: (bytes: Buffer) => bytes })) {
    it(`settles, and a drain does not wait for it: ${coding}`, async () => {
      const web = await openWeb({ routes, limit: LIMIT });
      await abandon(web.port, encode(SMALL), `Content-Encoding: ${coding}\r\nX-Correlation-Id: left\r\n`);
      expect(await eventually(() => web.access('left') ?? false)).to.include({ status: 499 });
      await web.http.drain();
    });
  }
});

describe('a body that is not UTF-8', () => {
  afterEach(closeWebs);

  it('is refused, not stored with replacement characters', async () => {
    const { url } = await openWeb({ routes, limit: LIMIT });
    const latin1 = Buffer.from('{"name":"J\xe9r\xf4me"}', 'latin1');
    const cut = Buffer.concat([
      Buffer.from('{"name":"'),
      Buffer.from('😀').subarray(0, 3),
      Buffer.from('"}'),
    ]);
    for (const body of [latin1, cut, Buffer.from('\ufeff{"name":"x"}', 'utf16le')]) {
      const refused = await send(url, body);
      expect(refused.status).to.equal(400);
      expect(refused.body.code).to.equal('invalid_encoding');
    }
    const accepted = await send(url, Buffer.from('\ufeff{"name":"Jérôme 😀"}'));
    expect(accepted.body.name).to.equal('Jérôme 😀');
  });

  it('nor is a query', async () => {
    const { url } = await openWeb({ routes, limit: LIMIT });
    for (const query of ['?name=J%E9r', '?name=%F0%9F%98', '?%ff=1']) {
      const refused = await fetch(`${url}/users${query}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: '{"name":"Ada"}',
      });
      expect(refused.status, query).to.equal(400);
      expect(((await refused.json()) as Refusal).code, query).to.equal('invalid_encoding');
    }
  });
});

describe('a process that is sent damaged bodies', () => {
  it('lives on, and stops at once on SIGTERM', async function () {
    this.timeout(60_000);
    const [PORT, ADMIN_PORT] = await freePorts(2);
    const web = startProcess({
      cwd: new URL('..', import.meta.url).pathname,
      entry: 'test/fixtures/web-process.ts',
      env: { PORT, ADMIN_PORT, SHUTDOWN_GRACE: '45s' },
    });
    try {
      await web.ready();
      const url = `http://127.0.0.1:${PORT}`;
      for (const [coding, encode] of Object.entries(CODINGS)) {
        const large = encode(LARGE);
        for (const body of [damaged(large, -1), damaged(large, -8), large.subarray(0, -1), large]) {
          const { status } = await send(url, body, { 'content-encoding': coding });
          expect(status, coding).to.be.oneOf([400, 413]);
        }
        await abandon(PORT as number, encode(SMALL), `Content-Encoding: ${coding}\r\n`);
      }
      const left = () => web.logs.filter(({ msg, status }) => msg === 'request' && status === 499).length;
      await eventually(() => left() === Object.keys(CODINGS).length);
      expect(web.exitCode).to.equal(undefined);
      const began = Date.now();
      expect(await web.kill('SIGTERM')).to.equal(0);
      // Work that never settles takes most of SHUTDOWN_GRACE.
      expect(Date.now() - began).to.be.below(15_000);
    } finally {
      await web.kill('SIGKILL');
    }
  });
});
