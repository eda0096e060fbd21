import type { RunningService } from '@warren/chassis';
import { expect } from 'chai';
import fc from 'fast-check';
import { destinationOf } from '../src/paths.ts';
import { ask, closeGateways, openGateway } from './gateway.ts';
import { openUpstream, type Upstream } from './upstream.ts';

const close = 'connection: close\r\n';

describe('tricks', () => {
  let user: Upstream;
  let others: Upstream;
  let gateway: RunningService;

  before(async () => {
    user = await openUpstream();
    others = await openUpstream();
    const [SESSION_URL, ORDER_URL, PAYMENT_URL, EMAIL_URL] = Array(4).fill(others.url);
    gateway = await openGateway({ USER_URL: user.url, SESSION_URL, ORDER_URL, PAYMENT_URL, EMAIL_URL });
  });
  after(async () => {
    await closeGateways();
    await user.close();
    await others.close();
  });
  beforeEach(() => {
    user.heads.length = 0;
    others.heads.length = 0;
  });

  const send = (text: string) => ask(gateway.port, text);
  const reached = () => [...user.heads, ...others.heads].map((head) => head.split('\r\n')[0]);

  describe('with paths never reach an upstream', () => {
    for (const path of [
      '/users/..',
      '/users/../orders',
      '/users/./x',
      '/users/.../x',
      '/../users',
      '/users/..;/orders',
      '/users;x=1',
      '/users/%2e%2e/orders',
      '/users/%2E%2E%2Forders',
      '/users/.%2e/orders',
      '/users%2f..%2forders',
      '/users/%5c..%5corders',
      '/users\\..\\orders',
      '/users/%252e%252e/orders',
      '/users/%00',
      '/users/%0d%0aX-Evil:1',
      '/users/%c0%ae%c0%ae/orders',
      '/users/%ef%bc%8e%ef%bc%8e/orders',
      '/users/\xc0\xae',
      '/users/\xef\xbc\x8f',
      '/%75sers',
      '/users%3flimit=1',
      '/users%23',
      '/users#x',
      '/users?x=1#y',
      '//users',
      '/users//1',
      '/users/1//',
      '//evil.example/users',
      '///users',
      'http:/users',
      'http://evil.example//users',
      'http://evil.example/users/../orders',
      'http://evil.example@127.0.0.1/users',
      'ftp://evil.example/users',
      'ahttp://x',
      'http://evil.example',
      '*',
      'users',
      '?x',
    ])
      it(JSON.stringify(path), async () => {
        const text = await send(`GET ${path} HTTP/1.1\r\nhost: x\r\n${close}\r\n`);
        expect(text).to.match(/^HTTP\/1\.1 40[04] /);
        expect(text).to.match(/\r\ncontent-type: application\/problem\+json/i);
        expect(reached()).to.deep.equal([]);
      });

    it('that are too long, and return 414', async () => {
      const text = await send(`GET /users/${'a'.repeat(9_000)} HTTP/1.1\r\nhost: x\r\n${close}\r\n`);
      expect(text).to.match(/^HTTP\/1\.1 414 /);
      expect(reached()).to.deep.equal([]);
    });
  });

  it('uses only the path of a target in absolute form', async () => {
    const text = await send(
      `GET http://evil.example:81/users?a=1 HTTP/1.1\r\nhost: evil.example\r\n${close}\r\n`,
    );
    expect(text).to.match(/^HTTP\/1\.1 200 /);
    expect(reached()).to.deep.equal(['GET /users?a=1 HTTP/1.1']);
    expect(user.heads[0]).to.match(new RegExp(`^host: 127.0.0.1:${user.port}$`, 'im'));
  });

  it('responds to OPTIONS * itself, with 204 and the allowed methods', async () => {
    const text = await send(`OPTIONS * HTTP/1.1\r\nhost: x\r\n${close}\r\n`);
    expect(text).to.match(/^HTTP\/1\.1 204 /);
    expect(text).to.match(/^allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r$/im);
    expect(reached()).to.deep.equal([]);
  });

  describe('with headers never reach an upstream', () => {
    const post = 'POST /users HTTP/1.1\r\n';
    for (const [what, text] of Object.entries({
      'two hosts': 'GET /users HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n',
      'the same host twice': 'GET /users HTTP/1.1\r\nhost: a\r\nHost: a\r\n\r\n',
      'no host': 'GET /users HTTP/1.1\r\n\r\n',
      'a host that is none': 'GET /users HTTP/1.1\r\nhost: a/../b\r\n\r\n',
      'a host with a user': 'GET /users HTTP/1.1\r\nhost: a@b\r\n\r\n',
      'two lengths': `${post}host: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!`,
      'the same length twice': `${post}host: x\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello`,
      'a list of lengths': `${post}host: x\r\ncontent-length: 5, 5\r\n\r\nhello`,
      'a length with a sign': `${post}host: x\r\ncontent-length: +5\r\n\r\nhello`,
      'a length in hex': `${post}host: x\r\ncontent-length: 0x5\r\n\r\nhello`,
      'a negative length': `${post}host: x\r\ncontent-length: -5\r\n\r\nhello`,
      'a length beyond numbers': `${post}host: x\r\ncontent-length: 99999999999999999999999\r\n\r\nhello`,
      'a length and chunks': `${post}host: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`,
      'chunks and a length': `${post}host: x\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n`,
      'chunked twice': `${post}host: x\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n`,
      'chunked in two fields': `${post}host: x\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`,
      'a coding that is near chunked': `${post}host: x\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n`,
      'chunked and something more': `${post}host: x\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n`,
      'a coding under chunked': `${post}host: x\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n`,
      'chunks in HTTP/1.0': `POST /users HTTP/1.0\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`,
      'space before the colon': `${post}host: x\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n`,
      'a vertical tab in the coding': `${post}host: x\r\ntransfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n`,
      'an obsolete fold': 'GET /users HTTP/1.1\r\nhost: x\r\nx: a\r\n b\r\n\r\n',
      'a fold at once': 'GET /users HTTP/1.1\r\n host: x\r\n\r\n',
      'lines that end in LF': 'GET /users HTTP/1.1\nhost: x\n\n',
      'a CR alone': 'GET /users HTTP/1.1\r\nhost: x\r\nx: a\rb: c\r\n\r\n',
      NUL: 'GET /users HTTP/1.1\r\nhost: x\r\nx: a\0b\r\n\r\n',
      'NUL in a name': 'GET /users HTTP/1.1\r\nhost: x\r\nx\0: a\r\n\r\n',
      'a name of nothing': 'GET /users HTTP/1.1\r\nhost: x\r\n: a\r\n\r\n',
      'no colon': 'GET /users HTTP/1.1\r\nhost: x\r\nx\r\n\r\n',
      'another version': 'GET /users HTTP/2.0\r\nhost: x\r\n\r\n',
      'no version': 'GET /users\r\n\r\n',
      'a space in the path': 'GET /users x HTTP/1.1\r\nhost: x\r\n\r\n',
      'CR LF in the path': 'GET /users\r\nx: y HTTP/1.1\r\nhost: x\r\n\r\n',
      'a tab in the path': 'GET /users\tx HTTP/1.1\r\nhost: x\r\n\r\n',
      'a method nobody knows': 'BREW /users HTTP/1.1\r\nhost: x\r\n\r\n',
      TRACE: `TRACE /users HTTP/1.1\r\nhost: x\r\n${close}\r\n`,
      CONNECT: 'CONNECT 127.0.0.1:1 HTTP/1.1\r\nhost: x\r\n\r\n',
      'another expectation': `GET /users HTTP/1.1\r\nhost: x\r\nexpect: a-miracle\r\n${close}\r\n`,
    }))
      it(what, async () => {
        const answer = await send(text);
        expect(answer).to.match(/^(HTTP\/1\.1 (4\d\d|50[15]) |$)/);
        expect(answer).not.to.match(/HTTP\/1\.1 200/);
        expect(reached()).to.deep.equal([]);
      });
  });

  describe('of request smuggling: bytes after a refused request are ignored', () => {
    for (const [what, head] of Object.entries({
      'length and chunks': 'content-length: 6\r\ntransfer-encoding: chunked',
      'two lengths': 'content-length: 0\r\ncontent-length: 44',
      'a coding under chunked': 'transfer-encoding: gzip, chunked',
    }))
      it(what, async () => {
        await send(
          `POST /users HTTP/1.1\r\nhost: x\r\n${head}\r\n\r\n0\r\n\r\nGET /orders/smuggled HTTP/1.1\r\nhost: x\r\n${close}\r\n`,
        );
        expect(user.heads).to.deep.equal([]);
        expect(reached().filter((line) => line?.includes('POST'))).to.deep.equal([]);
      });

    it('a body that looks like a request stays a body', async () => {
      const inner = 'GET /orders/smuggled HTTP/1.1\r\nhost: x\r\n\r\n';
      await send(
        `POST /users HTTP/1.1\r\nhost: x\r\n${close}content-length: ${inner.length}\r\n\r\n${inner}`,
      );
      await send(
        `POST /users HTTP/1.1\r\nhost: x\r\n${close}transfer-encoding: chunked\r\n\r\n${inner.length.toString(16)}\r\n${inner}\r\n0\r\n\r\n`,
      );
      expect(reached()).to.deep.equal(['POST /users HTTP/1.1', 'POST /users HTTP/1.1']);
    });

    it('chunks with extensions and trailers come out as plain chunks', async () => {
      await send(
        `POST /users HTTP/1.1\r\nhost: x\r\n${close}transfer-encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nx-evil: 1\r\n\r\n`,
      );
      expect(user.heads).to.have.length(1);
      const sent = user.connections.map(({ received }) => received).join();
      expect(sent).to.match(/content-length: 5\r\n\r\nhello|\r\n\r\n5\r\nhello\r\n0\r\n\r\n/);
      expect(sent).not.to.match(/x-evil|a=b/);
    });

    it('Connection cannot remove headers of the gateway', async () => {
      await send(
        'GET /users HTTP/1.1\r\nhost: x\r\nconnection: close, host, x-forwarded-for, x-correlation-id\r\n\r\n',
      );
      expect(user.heads[0]).to.match(/^host: 127/im);
      expect(user.heads[0]).to.match(/^x-forwarded-for: 127\.0\.0\.1$/im);
      expect(user.heads[0]).to.match(/^x-correlation-id: /im);
    });
  });

  it('responds to a complete request before it refuses the malformed one behind it', async () => {
    const text = await send('GET /users HTTP/1.1\r\nhost: x\r\n\r\nBREW /users\r\n\r\n');
    expect(text).to.match(/^HTTP\/1\.1 200 [\s\S]*\r\n\r\nhelloHTTP\/1\.1 400 /);
  });

  it('generated targets reach only the owner of their first segment, unchanged', async function () {
    this.timeout(60_000);
    const piece = fc.constantFrom(
      ...[
        '/',
        '//',
        '.',
        '..',
        '%2e',
        '%2f',
        '%5c',
        '\\',
        '%00',
        ';',
        '?',
        '#',
        '@',
        ':',
        '%',
        'a',
        '\x80',
        '\xff',
      ],
      ...[
        'users',
        'orders',
        'sessions',
        'overview',
        'docs',
        'create_user',
        'http://x',
        '127.0.0.1',
        '&',
        '=',
        '\t',
      ],
    );
    const target = fc.array(piece, { minLength: 1, maxLength: 8 }).map((pieces) => pieces.join(''));
    const rooted = fc.oneof(
      target,
      target.map((text) => `/${text}`),
      target.map((text) => `/users/${text}`),
    );
    await fc.assert(
      fc.asyncProperty(rooted, async (text) => {
        user.heads.length = 0;
        others.heads.length = 0;
        const answer = await send(`GET ${text} HTTP/1.1\r\nhost: x\r\n${close}\r\n`);
        expect(answer).to.match(/^(HTTP\/1\.1 [2-5]\d\d |$)/);
        expect(answer).not.to.match(/^HTTP\/1\.1 500/);
        for (const [upstream, paths] of [
          [user, /^GET \/(users|create_user)(\/(?!\.+[/? ])[\w.:@&=-]+)*\/?(\?[!-~]*)? HTTP\/1\.1$/],
          [others, /^GET \/(orders|sessions)(\/(?!\.+[/? ])[\w.:@&=-]+)*\/?(\?[!-~]*)? HTTP\/1\.1$/],
        ] as const)
          for (const head of upstream.heads) {
            const line = head.split('\r\n')[0] as string;
            expect(line).to.match(paths);
            expect(text).to.contain(line.split(' ')[1]);
          }
      }),
      { numRuns: 1_500 },
    );
  });

  it('generated bytes never become more than one request, nor a 500', async function () {
    this.timeout(60_000);
    const line = fc.constantFrom(
      ...[
        'host: x',
        'content-length: 3',
        'content-length: 0',
        'transfer-encoding: chunked',
        'x: y',
        ' fold',
        'x : y',
      ],
      ...[
        'connection: close',
        'connection: keep-alive, te',
        'te: chunked',
        'expect: 100-continue',
        'upgrade: h2c',
      ],
      ...['transfer-encoding:chunked', 'Content-Length:\t3', 'x: \x01', 'a\rb: c', 'cookie: a=1', ': z', ''],
    );
    const end = fc.constantFrom('\r\n', '\r\n', '\r\n', '\n', '\r', '\r\r\n');
    const lines = fc.array(fc.tuple(line, end), { maxLength: 7 }).map((all) => all.flat().join(''));
    const method = fc.constantFrom('GET', 'POST', 'get', 'HEAD', 'PUT', '\r\nGET', 'GE T');
    const body = fc.constantFrom('', 'abc', '3\r\nabc\r\n0\r\n\r\n', '0\r\n\r\n', '-1\r\n');
    await fc.assert(
      fc.asyncProperty(method, lines, body, async (verb, middle, rest) => {
        user.heads.length = 0;
        const talked = send(
          `${verb} /users HTTP/1.1\r\nhost: x\r\n${middle}${close}\r\n${rest}GARBAGE\r\n\r\n`,
        );
        const answer = await talked;
        expect(answer).not.to.match(/HTTP\/1\.1 500/);
        expect(user.heads.length).to.be.lessThan(2);
        for (const head of user.heads) {
          expect(head).to.match(/^(GET|POST|HEAD|PUT) \/users HTTP\/1\.1\r\n/);
          expect(head).not.to.match(/^(te|upgrade|expect|keep-alive): /im);
          const framing = head.match(/^(content-length|transfer-encoding): .*$/gim) ?? [];
          expect(framing.length).to.be.lessThan(2);
        }
      }),
      { numRuns: 1_500 },
    );
  });

  it('the owner of any path is that of its first segment', () => {
    const path = fc.webPath();
    fc.assert(
      fc.property(
        fc.oneof(
          path,
          path.map((more) => `/users${more}`),
        ),
        (text) => {
          const owner = destinationOf(text);
          if (owner !== undefined) expect(`${text}/`.startsWith(owner.route.replace('*', ''))).to.equal(true);
        },
      ),
      { numRuns: 5_000 },
    );
  });
});
