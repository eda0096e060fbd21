import { expect } from 'chai';
import fc from 'fast-check';
import { withHouse } from './support/house.ts';
import { converse } from './support/socket.ts';
import { target } from './support/target.ts';

/** What may be said to a request that is malformed, or asks for what HTTP has and Warren has not. */
const isFair = (status: number): boolean => (status >= 100 && status < 500) || [501, 505].includes(status);

interface Wire {
  to: 'user' | 'order' | 'gateway' | 'admin of user';
  /** In Latin-1. */
  text: string;
  /** Bytes a write; undefined: all at once. */
  piece: number | undefined;
}

const body = '{"name":"Raw","email":"raw@example.com"}';

const method = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('GET', 'POST', 'HEAD', 'DELETE', 'OPTIONS') },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      '',
      'get',
      'CONNECT',
      'TRACE',
      'PRI',
      'M-SEARCH',
      'GET\t',
      'G\u0000T',
      'POST POST',
    ),
  },
);
const uri = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('/users', '/users?limit=1', '/orders', '/openapi.json', '/livez') },
  {
    weight: 2,
    arbitrary: fc.constantFrom(
      '',
      '*',
      'users',
      'http://localhost/users',
      'http://[::1/users',
      '//users',
      '/users#x',
      '/users?%',
      '/\u00ff',
      '/\u0000',
      'localhost:80',
      `/${'a'.repeat(20_000)}`,
      `/users?${'a=1&'.repeat(3_000)}`,
    ),
  },
  {
    weight: 1,
    arbitrary: fc.string({ unit: fc.constantFrom(...'/?#%&=;:@[]\\ \t\u007f\u00e9ab'), maxLength: 30 }),
  },
);
const version = fc.oneof(
  { weight: 8, arbitrary: fc.constant('HTTP/1.1') },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      'HTTP/1.0',
      'HTTP/0.9',
      'HTTP/2.0',
      'HTTP/1.1 ',
      'http/1.1',
      'HTTP/1',
      'HTTP/9.9',
      '',
    ),
  },
);
const header = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.constantFrom(
      'Content-Type: application/json',
      'Connection: close',
      'Connection: keep-alive, Upgrade',
      'Upgrade: websocket',
      'Upgrade: h2c',
      'Expect: 100-continue',
      'Expect: everything',
      `Content-Length: ${body.length}`,
      'Transfer-Encoding: chunked',
    ),
  },
  {
    weight: 3,
    arbitrary: fc.constantFrom(
      'Content-Length: 5',
      'Content-Length: -1',
      'Content-Length: +5',
      'Content-Length: 0x5',
      'Content-Length: 5, 5',
      'Content-Length: 5, 6',
      'Content-Length: 99999999999999999999999',
      'Content-Length:',
      'Content-Length : 5',
      'Transfer-Encoding: gzip, chunked',
      'Transfer-Encoding: chunked, gzip',
      'Transfer-Encoding: identity',
      'Transfer-Encoding: xchunked',
      'Transfer-Encoding:\u000bchunked',
      'Transfer-Encoding: chunked\r\nTransfer-Encoding: identity',
      'Host: a\r\nHost: b',
      'Host:',
      'Host: a b',
      'Host: [::1',
      'Content-Encoding: gzip',
      'Content-Type: application/json; charset="',
      'TE: trailers, deflate;q=0.5',
      'Trailer: Content-Length',
      'Connection: content-length',
      'Connection: host, close, te, transfer-encoding',
      ' folded: x',
      'x: a\r\n folded',
      ': empty name',
      'no colon',
      'x\u0000: y',
      'x: \u0000',
      'x: a\nb: c',
      'x: a\rb',
      '(x): y',
      'é: x',
      `x: ${'y'.repeat(17_000)}`,
      Array.from({ length: 150 }, (_, at) => `x-${at}: y`).join('\r\n'),
      Array.from({ length: 2_100 }, (_, at) => `y${at}:`).join('\r\n'),
      'X-Forwarded-For: , ,,',
      'Forwarded: for=";',
      'Idempotency-Key: a\r\nIdempotency-Key: b',
      'traceparent: 00-',
      '__proto__: x',
    ),
  },
  {
    weight: 1,
    arbitrary: fc.string({ unit: fc.constantFrom(...':;,"=()<>@ \t\r\n\u0000\u00ffax'), maxLength: 40 }),
  },
);
const payload = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom('', body) },
  { weight: 2, arbitrary: fc.constant(`${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`) },
  {
    weight: 3,
    arbitrary: fc.constantFrom(
      '0\r\n\r\n',
      '0\r\n',
      '5\r\nab\r\n0\r\n\r\n',
      '-1\r\nx\r\n0\r\n\r\n',
      'zz\r\nx\r\n0\r\n\r\n',
      '0x5\r\nabcde\r\n0\r\n\r\n',
      '5;ext="a;b"\r\nabcde\r\n0\r\n\r\n',
      `5;${'e'.repeat(20_000)}\r\nabcde\r\n0\r\n\r\n`,
      '5\nabcde\n0\n\n',
      '5\r\nabcdeXX0\r\n\r\n',
      'ffffffffffffffff\r\nx\r\n',
      'ffffffffffffffffff\r\nx\r\n',
      '0\r\nTrailer: x\r\n\r\n',
      `0\r\nTrailer: ${'x'.repeat(20_000)}\r\n\r\n`,
      '0\r\nContent-Length: 5\r\n\r\n',
      'GET /users HTTP/1.1\r\nHost: x\r\n\r\n',
      '\r\n\r\nGET /users HTTP/1.1\r\nHost: x\r\n\r\n',
    ),
  },
);

const request = fc
  .record({
    method,
    uri,
    version,
    host: fc.oneof(
      { weight: 8, arbitrary: fc.constant(['Host: localhost']) },
      { weight: 1, arbitrary: fc.constant([]) },
    ),
    headers: fc.array(header, { maxLength: 4 }),
    ending: fc.oneof(
      { weight: 10, arbitrary: fc.constant('\r\n') },
      { weight: 1, arbitrary: fc.constantFrom('\n', '\r', '\r\r\n') },
    ),
    payload,
  })
  .map(({ method, uri, version, host, headers, ending, payload }) =>
    [`${method} ${uri} ${version}`, ...host, ...headers, '', payload].join(ending),
  );

/** Bytes inserted, left out, or another in their place. */
const edits = fc.array(
  fc.record({
    at: fc.double({ min: 0, max: 0.999, noNaN: true }),
    remove: fc.nat(3),
    insert: fc.string({ unit: 'binary-ascii', maxLength: 3 }),
  }),
  { maxLength: 4 },
);

const text = fc.oneof(
  { weight: 5, arbitrary: request },
  { weight: 3, arbitrary: fc.tuple(request, edits).map(([whole, all]) => all.reduce(edited, whole)) },
  {
    weight: 1,
    arbitrary: fc
      .tuple(request, fc.double({ min: 0, max: 1, noNaN: true }))
      .map(([whole, share]) => whole.slice(0, Math.floor(whole.length * share))),
  },
  { weight: 1, arbitrary: fc.tuple(request, request).map((two) => two.join('')) },
  {
    weight: 1,
    arbitrary: fc.oneof(
      fc.constantFrom(
        '',
        '\r\n',
        '\u0016\u0003\u0001\u0002\u0000\u0001',
        'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
        'SSH-2.0-x\r\n',
        'AMQP\u0000\u0000\u0009\u0001',
      ),
      fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes).toString('latin1')),
    ),
  },
);

function edited(
  whole: string,
  { at, remove, insert }: { at: number; remove: number; insert: string },
): string {
  const place = Math.floor(at * whole.length);
  return whole.slice(0, place) + insert + whole.slice(place + remove);
}

const wires: fc.Arbitrary<Wire> = fc.record({
  to: fc.constantFrom('user', 'order', 'gateway', 'admin of user'),
  text,
  piece: fc.option(fc.constantFrom(1, 3, 1_000), { nil: undefined }),
});

target('raw', ({ property }) => {
  const house = withHouse();

  const talk = async ({ to, text, piece }: Wire): Promise<{ heads: string[]; rest: string }> => {
    await house.restore();
    const bytes = Buffer.from(text, 'latin1');
    const size = piece && bytes.length <= 2_000 ? piece : Math.max(1, bytes.length);
    const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, at) =>
      bytes.subarray(at * size, (at + 1) * size),
    );
    const origin = to === 'admin of user' ? house.of('user').adminUrl : house.of(to).url;
    const received = await converse(origin, pieces);
    await house.assertAlive();
    return { heads: headsOf(received), rest: received };
  };

  property(
    'every input gets a response, or its connection is closed; no input is an error of the server',
    500,
    wires,
    async (wire) => {
      const { heads, rest } = await talk(wire);
      if (rest !== '' && heads.length === 0) throw new Error(`the answer is not HTTP: ${rest.slice(0, 200)}`);
      for (const head of heads)
        expect(
          isFair(statusOf(head)),
          `${statusOf(head)} is an error of the server: ${rest.slice(0, 500)}`,
        ).to.equal(true);
    },
  );

  property('what is refused is told why in a problem', 150, wires, async (wire) => {
    if (wire.to === 'admin of user') return;
    for (const head of (await talk(wire)).heads)
      if (statusOf(head) >= 400)
        expect(head, 'the head of the answer').to.match(/\ncontent-type: application\/problem\+json/i);
  });

  house.endsAtSigterm();
});

/** Heads of the answers: no body holds a bare line like a status line. */
const headsOf = (received: string): string[] =>
  [...received.matchAll(/HTTP\/1\.1 \d{3} [^\r\n]*\r\n(?:[^\r\n]+\r\n)*\r\n/g)].map(([head]) => head);

const statusOf = (head: string): number => Number(head.slice(9, 12));
