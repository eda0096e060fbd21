import { createHash, randomBytes } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import { connect } from 'node:net';
import { Readable } from 'node:stream';
import { eventually } from '@warren/testkit';
import { expect } from 'chai';
import fc from 'fast-check';
import { Agent, request } from 'undici';
import { ask, closeGateways, openGateway, type Talk, talk } from './gateway.ts';
import { ok, openUpstream, type Upstream } from './upstream.ts';

const POST = 'POST /users HTTP/1.1\r\nhost: x\r\n';
const GET = 'GET /users HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n';
/** The default of BODY_BUFFER. Bytes */
const BUFFER = 100 * 1024;
const SLOW = '127.0.0.2';
const OTHER = '127.0.0.3';

describe('clients share', () => {
  let user: Upstream;
  const slow: Talk[] = [];
  const from = async (address: string, port: number, text: string) =>
    (await talk(port, text, address).ended).text;

  beforeEach(async () => {
    user = await openUpstream();
  });
  afterEach(async () => {
    for (const one of slow.splice(0)) one.destroy();
    await closeGateways();
    await user.close();
  });
  const open = () => openGateway({ USER_URL: user.url, UPSTREAM_CONNECTIONS: '8', UPSTREAM_WAIT: '300ms' });
  /** A request with a body, after which no more comes; resolves when the gateway has its head. */
  const stall = async (port: number, head: string, body: string, address = SLOW) => {
    const one = talk(port, `${POST}expect: 100-continue\r\n${head}\r\n\r\n${body}`, address);
    slow.push(one);
    await eventually(() => one.text().startsWith('HTTP/1.1 100 '));
  };

  for (const head of ['content-length: 100', 'transfer-encoding: chunked'])
    it(`a body that does not arrive holds no connection (${head})`, async () => {
      const { port } = await open();
      await Promise.all(Array.from({ length: 100 }, () => stall(port, head, '1')));
      const post = `${POST}connection: close\r\ncontent-length: 2\r\n\r\n{}`;
      for (const address of [SLOW, OTHER])
        for (const text of [GET, post]) expect(await from(address, port, text)).to.match(/^HTTP\/1\.1 200 /);
      expect(user.heads).to.have.length(4);
    });

  it('large bodies that do not arrive hold only the connections of their client', async () => {
    const { port } = await open();
    const begun = 'x'.repeat(BUFFER + 1);
    await Promise.all(Array.from({ length: 2 }, () => stall(port, 'content-length: 500000', begun)));
    await eventually(() => user.heads.length === 2);
    const problem = await from(SLOW, port, GET);
    expect(problem).to.match(/^HTTP\/1\.1 503 /);
    expect(problem).to.contain('upstream_busy');
    expect(await from(OTHER, port, GET)).to.match(/^HTTP\/1\.1 200 /);
  });

  it('slow bodies within the limit of the services hold no connection, from any number of clients', async () => {
    const { port } = await open();
    const trickling = ['2', '4', '5', '6'].flatMap((last) =>
      Array.from({ length: 10 }, () =>
        stall(port, 'content-length: 90000', 'x'.repeat(66_000), `127.0.0.${last}`),
      ),
    );
    await Promise.all(trickling);
    for (const one of slow) one.write('x');
    const post = `${POST}connection: close\r\ncontent-length: 2\r\n\r\n{}`;
    for (const text of [GET, post]) expect(await from(OTHER, port, text)).to.match(/^HTTP\/1\.1 200 /);
    expect(user.heads).to.have.length(2);
    slow[0]?.write('x'.repeat(23_999));
    await eventually(() => slow[0]?.text().includes('HTTP/1.1 200 '));
  });

  const clients = Array.from({ length: 12 }, (_, at) => `127.0.0.${at + 10}`);
  const post = `${POST}connection: close\r\ncontent-length: 2\r\n\r\n{}`;

  it('slow large bodies leave connections for reads and other writes, from any number of clients', async () => {
    const { port } = await open();
    const begun = 'x'.repeat(BUFFER + 1);
    await Promise.all(clients.map((address) => stall(port, 'content-length: 500000', begun, address)));
    await eventually(() => user.heads.length === 2);
    for (const text of [GET, post]) expect(await from(OTHER, port, text)).to.match(/^HTTP\/1\.1 200 /);
  });

  for (const [what, held, other] of [
    ['reads', GET, post],
    ['writes', post, GET],
  ] as const)
    it(`${what} with slow responses leave connections for other requests`, async () => {
      await user.close();
      user = await openUpstream((socket, head) => {
        if (!head.startsWith(held.slice(0, 4))) ok(socket);
      });
      const { port } = await open();
      slow.push(...clients.map((address) => talk(port, held, address)));
      await eventually(() => user.heads.length === 6);
      expect(await from(OTHER, port, other)).to.match(/^HTTP\/1\.1 200 /);
    });

  it('responses that are not read hold only the connections of their client', async () => {
    const endless = createServer((_request, response) => {
      const more = () => {
        while (response.write('x'.repeat(65_536)));
      };
      response.on('drain', more);
      more();
    });
    const url = await listen(endless);
    const { port } = await openGateway({ USER_URL: url, UPSTREAM_CONNECTIONS: '8', UPSTREAM_WAIT: '300ms' });
    const readers = Array.from({ length: 8 }, () => {
      const socket = connect({ port, host: '127.0.0.1', localAddress: SLOW });
      socket.on('error', () => {}).write(GET);
      return socket;
    });
    expect(await from(SLOW, port, GET)).to.match(/^HTTP\/1\.1 503 /);
    const other = talk(port, GET, OTHER);
    slow.push(other);
    await eventually(() => other.text().startsWith('HTTP/1.1 200 '));
    for (const socket of readers) socket.destroy();
    other.destroy();
    endless.closeAllConnections();
    endless.close();
  });

  it('the memory for bodies: only a client that uses too much of it is refused', async () => {
    const { port } = await open();
    const chunked = 'transfer-encoding: chunked';
    await Promise.all(Array.from({ length: 81 }, () => stall(port, chunked, '1')));
    const post = `${POST}connection: close\r\n${chunked}\r\n\r\n2\r\n{}\r\n0\r\n\r\n`;
    const refused = await from(SLOW, port, post);
    expect(refused).to.match(/^HTTP\/1\.1 503 [\s\S]*\r\nretry-after: 1\r\n/i);
    expect(refused).to.contain('gateway_busy');
    expect(await from(OTHER, port, post)).to.match(/^HTTP\/1\.1 200 /);
    for (const one of slow.splice(0)) one.destroy();
    await eventually(async () => expect(await from(SLOW, port, post)).to.match(/^HTTP\/1\.1 200 /));
  });
});

describe('a body arrives byte for byte', () => {
  const digest = (body: Buffer) => createHash('sha256').update(body).digest('hex');
  let server: Server;
  let url: string;

  before(async () => {
    server = createServer(async (incoming, response) => {
      const pieces: Buffer[] = [];
      for await (const piece of incoming) pieces.push(piece);
      response.end(`${incoming.headers['content-length'] ?? 'chunked'} ${digest(Buffer.concat(pieces))}`);
    });
    url = await listen(server);
  });
  after(async () => {
    await closeGateways();
    server.close();
    server.closeAllConnections();
  });

  it('for any size, chunks and framing, several on one connection', async function () {
    this.timeout(60_000);
    const gateway = await openGateway({ USER_URL: url });
    const agent = new Agent({ connections: 1 });
    const size = fc.oneof(
      fc.integer({ min: 1, max: 200 }),
      fc.integer({ min: BUFFER - 2, max: BUFFER + 2 }),
      fc.integer({ min: BUFFER, max: 900_000 }),
    );
    const cases = fc.record({
      size,
      cuts: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 6 }),
      sized: fc.boolean(),
      method: fc.constantFrom('POST', 'PUT', 'DELETE' as const),
    });
    await fc.assert(
      fc.asyncProperty(cases, async ({ size, cuts, sized, method }) => {
        const whole = randomBytes(size);
        const ends = [...cuts.map((cut) => Math.floor(cut * size)), size].sort((a, b) => a - b);
        const pieces = ends.map((end, at) => whole.subarray(ends[at - 1] ?? 0, end));
        const { statusCode, body } = await request(`${gateway.url}/users`, {
          method,
          dispatcher: agent,
          headers: sized ? { 'content-length': String(size) } : {},
          body: Readable.from(slowly(pieces)),
        });
        const [framing, sum] = (await body.text()).split(' ');
        expect(statusCode).to.equal(200);
        expect(sum).to.equal(digest(whole));
        expect(framing).to.equal(sized || size <= BUFFER ? String(size) : 'chunked');
      }),
      { numRuns: 60 },
    );
    await agent.close();
  });

  it('when it is empty and chunked', async () => {
    const { port } = await openGateway({ USER_URL: url });
    const text = await ask(port, `${POST}connection: close\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`);
    expect(text).to.match(/^HTTP\/1\.1 200 /);
    expect(text).to.contain(`0 ${digest(Buffer.alloc(0))}`);
  });
});

async function listen(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as { port: number }).port}`;
}

async function* slowly(pieces: Buffer[]): AsyncGenerator<Buffer> {
  for (const piece of pieces) {
    yield piece;
    await new Promise(setImmediate);
  }
}
