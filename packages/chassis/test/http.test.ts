import { connect } from 'node:net';
import { Joi } from '@warren/events';
import { eventually } from '@warren/testkit';
import { expect } from 'chai';
import { request } from 'undici';
import type { UnitsOfWork } from '../src/context.ts';
import { problem, WarrenError } from '../src/errors.ts';
import { created, del, get, noContent, patch, post, put, type Route, respond } from '../src/http/routes.ts';
import { closeWebs, json, openWeb, type Web } from './http-fixture.ts';

const id = Joi.string().guid();
const USER = '01932f0e-0000-7000-8000-000000000001';

interface Body {
  title?: string;
  status?: number;
  code?: string;
  detail?: string;
  errors?: { path: string; message: string }[];
}

const routes: Route[] = [
  post(
    '/users',
    {
      access: 'public',
      aliases: ['/users/save', '/create_user'],
      body: Joi.object({
        name: Joi.string().trim().min(1).required(),
        email: Joi.string().email(),
        address: Joi.object({ city: Joi.string().required() }),
        anything: Joi.any(),
      }),
    },
    async ({ body }) => created('/users/1', body),
  ),
  get('/users/:id', { access: 'public', params: { id } }, async ({ params }) => ({ id: params.id })),
  put('/users/:id', { access: 'public', params: { id }, body: Joi.object() }, async () => respond(202)),
  patch('/users/:id', { access: 'public', params: { id } }, async () =>
    respond(200, { patched: true }, { etag: '"1"' }),
  ),
  del('/users/:id', { access: 'public', params: { id } }, async () => noContent()),
  get(
    '/users',
    { access: 'public', query: { limit: Joi.number().integer().max(10).default(5), after: id } },
    async ({ query }) => ({ limit: query.limit, after: query.after }),
  ),
  get('/missing', { access: 'public' }, async () => {
    throw problem(404, {
      code: 'user_unknown',
      detail: 'There is no such user.',
      headers: { 'retry-after': '1' },
    });
  }),
  get('/broken', { access: 'public' }, async () => {
    throw new Error('the key is hunter2, see amqp://u:hunter3@h');
  }),
  get('/nothing', { access: 'public' }, async () => undefined as unknown as object),
  get('/away', { access: 'public' }, async () => {
    throw new WarrenError('migration_failed', 'x', {
      cause: Object.assign(new Error('x'), { code: 'ECONNREFUSED' }),
    });
  }),
  get('/refused', { access: 'public' }, async () => {
    throw Object.assign(new Error('the database system is starting up'), { code: '57P03' });
  }),
  get('/deadlock', { access: 'public' }, async () => {
    throw Object.assign(new Error('deadlock detected'), { code: '40P01' });
  }),
];

describe('the web face', () => {
  let web: Web;
  beforeEach(async () => {
    web = await openWeb({ routes, limit: 2_000 });
  });
  afterEach(closeWebs);

  const call = async (path: string, init?: RequestInit) => {
    const response = await fetch(web.url + path, init);
    const text = await response.text();
    return {
      status: response.status,
      headers: response.headers,
      text,
      body: (text ? JSON.parse(text) : undefined) as Body,
    };
  };
  const expectProblem = ({ status, headers, body }: Awaited<ReturnType<typeof call>>, expected: number) => {
    expect(status).to.equal(expected);
    expect(headers.get('content-type')).to.match(/^application\/problem\+json/);
    expect(body).to.include({ status: expected });
    expect(body.title).to.be.a('string');
  };

  describe('answers', () => {
    it('an object as 200, and what the reply helpers say', async () => {
      expect(await call(`/users/${USER}`)).to.deep.include({ status: 200, body: { id: USER } });
      const made = await call('/users', json({ name: ' Ada ' }));
      expect(made).to.deep.include({ status: 201, body: { name: 'Ada' } });
      expect(made.headers.get('location')).to.equal('/users/1');
      expect(await call(`/users/${USER}`, { method: 'DELETE' })).to.include({ status: 204, text: '' });
      expect(await call(`/users/${USER}`, { ...json({}), method: 'PUT' })).to.include({
        status: 202,
        text: '',
      });
      const patched = await call(`/users/${USER}`, { method: 'PATCH' });
      expect(patched.headers.get('etag')).to.equal('"1"');
    });

    it('under every alias of a route', async () => {
      for (const path of ['/users', '/users/save', '/create_user']) {
        expect((await call(path, json({ name: 'Ada' }))).status, path).to.equal(201);
      }
    });

    it('HEAD like GET without a body, and OPTIONS with what there is', async () => {
      const head = await request(`${web.url}/users/${USER}`, { method: 'HEAD' });
      expect(head.statusCode).to.equal(200);
      expect(head.headers['content-length']).to.equal(String(JSON.stringify({ id: USER }).length));
      expect(await head.body.text()).to.equal('');
      const options = await call(`/users/${USER}`, { method: 'OPTIONS' });
      expect(options.status).to.equal(204);
      expect(options.headers.get('allow')?.split(', ')).to.have.members([
        'GET',
        'HEAD',
        'PUT',
        'PATCH',
        'DELETE',
        'OPTIONS',
      ]);
    });

    it('OPTIONS of the server as a whole with all methods', async () => {
      const answer = await raw(web.port, 'OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
      expect(answer)
        .to.match(/^HTTP\/1\.1 204 /)
        .and.match(/allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n/i);
    });

    it('with headers that keep browsers from doing harm', async () => {
      const { headers } = await call('/users');
      expect(headers.get('x-content-type-options')).to.equal('nosniff');
      expect(headers.get('content-security-policy')).to.contain("default-src 'none'");
      expect(headers.get('cache-control')).to.equal('no-store');
      expect(headers.get('x-powered-by')).to.equal(null);
    });
  });

  describe('refuses', () => {
    it('what is not there with 404, and another method with 405 and Allow', async () => {
      expectProblem(await call('/nope'), 404);
      expectProblem(await call('/USERS'), 404);
      const wrong = await call('/users', { method: 'DELETE' });
      expectProblem(wrong, 405);
      expect(wrong.headers.get('allow')).to.equal('GET, HEAD, POST, OPTIONS');
      expectProblem(await call('/nope', { method: 'OPTIONS' }), 404);
    });

    it('invalid input with every mistake and its path', async () => {
      const wrong = await call('/users', json({ name: 7, email: 'x', address: {}, extra: true }));
      expectProblem(wrong, 400);
      expect(wrong.body.errors).to.deep.equal([
        { path: 'name', message: 'name must be a string' },
        { path: 'email', message: 'email must be a valid email' },
        { path: 'address.city', message: 'address.city is required' },
        { path: 'extra', message: 'extra is not allowed' },
      ]);
      expect(wrong.body.code).to.equal('invalid_input');
    });

    it('a parameter or a field named __proto__, like any unknown one', async () => {
      for (const query of [
        '__proto__=1',
        '__proto__',
        'limit=1&__proto__=2',
        '%5F_proto__=1',
        '__proto__[x]=1',
      ]) {
        const refused = await call(`/users?${query}`);
        expectProblem(refused, 400);
        expect(refused.body.errors?.[0]?.message, query).to.match(/__proto__.* is not allowed/);
      }
      expectProblem(
        await call('/users', { ...json({}), body: '{"name":"a","anything":{"__proto__":1}}' }),
        400,
      );
    });

    it('invalid parameters, in the path and in the query', async () => {
      expect((await call('/users/7')).body.errors).to.deep.equal([
        { path: 'id', message: 'id must be a valid GUID' },
      ]);
      expect((await call('/users?limit=11&limt=3')).body.errors).to.deep.equal([
        { path: 'limit', message: 'limit must be less than or equal to 10' },
        { path: 'limt', message: 'limt is not allowed' },
      ]);
      expectProblem(await call('/users?limit=1&limit=2'), 400);
      expectProblem(await call('/users/%E0%A4%A'), 400);
      expect((await call('/users?limit=3')).body).to.deep.equal({ limit: 3 });
      expect((await call('/users')).body).to.deep.equal({ limit: 5 });
    });

    it('text that no database would keep as it is', async () => {
      const withNul = await call('/users', json({ name: 'a\0b' }));
      expect(withNul.body.errors).to.deep.equal([
        { path: 'name', message: 'name must not contain the character U+0000' },
      ]);
      const half = await call('/users', { ...json({}), body: '{"name":"\\ud800"}' });
      expect(half.body.errors?.[0]?.message).to.equal('name must be well-formed Unicode');
      expectProblem(await call('/users?after=%00'), 400);
    });

    it('a body nested beyond sense', async () => {
      const deep = `{"name":"a","anything":${'['.repeat(900)}${']'.repeat(900)}}`;
      expectProblem(await call('/users', { ...json({}), body: deep }), 400);
    });

    it('thousands of mistakes with the first of them', async () => {
      const fields = Object.fromEntries(Array.from({ length: 9_000 }, (_, i) => [`k${i}`, 1]));
      const { url } = await openWeb({ routes });
      const refused = await fetch(`${url}/users`, json({ name: 'a', ...fields }));
      expect(refused.status).to.equal(400);
      expect(((await refused.json()) as { errors: object[] }).errors).to.have.length(1);
    });

    it('malformed JSON, a scalar, and a poisoned prototype with 400', async () => {
      for (const [body, code] of [
        ['{"name"', 'malformed_json'],
        ['"text"', 'malformed_json'],
        ['7', 'malformed_json'],
        ['null', 'malformed_json'],
        ['{"__proto__":{"x":1},"name":"a"}', 'invalid_input'],
      ] as const) {
        const refused = await call('/users', { ...json({}), body });
        expectProblem(refused, 400);
        expect(refused.body.code, body).to.equal(code);
      }
      expectProblem(await call('/users', json([])), 400);
    });

    it('no body like an empty one', async () => {
      const refused = await call('/users', { method: 'POST' });
      expect(refused.body.errors).to.deep.equal([{ path: 'name', message: 'name is required' }]);
    });

    it('a body that is too large with 413, told by its length or found out while reading', async () => {
      expectProblem(await call('/users', json({ name: 'x'.repeat(200_000) })), 413);
      const chunks = new ReadableStream({
        start(controller) {
          for (let n = 0; n < 10; n += 1) controller.enqueue(new TextEncoder().encode('x'.repeat(1_000)));
          controller.close();
        },
      });
      expectProblem(await call('/users', { ...json({}), body: chunks, duplex: 'half' } as RequestInit), 413);
      expect((await call('/users', json({ name: 'x' }))).status).to.equal(201);
    });

    it('a small body that unpacks to a large one with 413', async () => {
      const { gzipSync } = await import('node:zlib');
      const body = gzipSync(JSON.stringify({ name: 'x'.repeat(1_000_000) }));
      const headers = { 'content-type': 'application/json', 'content-encoding': 'gzip' };
      expectProblem(await call('/users', { method: 'POST', headers, body }), 413);
      expectProblem(await call('/users', { method: 'POST', headers, body: 'no gzip' }), 400);
      expectProblem(await call('/users', { ...json({ name: 'x' }, { 'content-encoding': 'zip' }) }), 415);
    });

    it('a body of another type or charset with 415, and none of +json', async () => {
      expectProblem(await call('/users', { method: 'POST', body: 'name=Ada' }), 415);
      expectProblem(
        await call('/users', { method: 'POST', body: new URLSearchParams({ name: 'Ada' }) }),
        415,
      );
      expectProblem(
        await call('/users', json({ name: 'Ada' }, { 'content-type': 'application/json; charset=latin1' })),
        415,
      );
      const accepted = await call(
        '/users',
        json({ name: 'Ada' }, { 'content-type': 'application/merge-patch+json; charset=UTF-8' }),
      );
      expect(accepted.status).to.equal(201);
    });

    it('what Node.js refuses by itself, with a problem too', async () => {
      const refused = {
        400: 'GET /users HTTP/1.1\r\n\r\n',
        417: 'POST /users HTTP/1.1\r\nHost: x\r\nExpect: 200-ok\r\nContent-Length: 2\r\n\r\n',
      };
      for (const [status, request] of Object.entries(refused))
        expect(await raw(web.port, request))
          .to.match(new RegExp(`^HTTP/1\\.1 ${status} `))
          .and.contain('application/problem+json')
          .and.contain(`"status":${status}`)
          .and.match(/x-correlation-id: [\da-f-]{36}/);
      expect(await raw(web.port, 'GET /users HTTP/1.0\r\n\r\n')).to.match(/^HTTP\/1\.1 200 /);
    });

    it('invalid HTTP with a problem, too', async () => {
      const answer = await raw(web.port, 'NONSENSE\r\n\r\n');
      expect(answer).to.match(/^HTTP\/1\.1 400 /);
      expect(answer)
        .to.contain('application/problem+json')
        .and.match(/x-correlation-id: [\da-f-]{36}/);
      const target = await raw(web.port, 'GET http://[::1/ HTTP/1.1\r\nHost: x\r\n\r\n');
      expect(target)
        .to.match(/^HTTP\/1\.1 400 /)
        .and.contain('application/problem+json')
        .and.match(/x-correlation-id: [\da-f-]{36}/);
      expect(await raw(web.port, `GET / HTTP/1.1\r\nx: ${'y'.repeat(20_000)}\r\n\r\n`)).to.match(
        /^HTTP\/1\.1 431 /,
      );
    });
  });

  describe('turns errors into answers', () => {
    it('a problem as it was thrown', async () => {
      const answer = await call('/missing');
      expectProblem(answer, 404);
      expect(answer.body).to.include({ code: 'user_unknown', detail: 'There is no such user.' });
      expect(answer.headers.get('retry-after')).to.equal('1');
    });

    it('an unexpected error as a 500 that tells the log everything, and the client nothing', async () => {
      const answer = await call('/broken', { headers: { 'x-correlation-id': 'broken-1' } });
      expectProblem(answer, 500);
      expect(answer.text).not.to.match(/hunter|http\.test|Error:/);
      const line = web.lines.find(({ err }) => err !== undefined);
      expect(line).to.include({ level: 'error', correlationId: 'broken-1' });
      expect(line?.err?.stack).to.match(/http\.test\.ts/);
      expect(JSON.stringify(line)).not.to.contain('hunter3');
    });

    it('an error of any shape, and of any length', async () => {
      const shapes: unknown[] = [
        null,
        Object.create(null),
        Object.assign(new Error('x'), { message: { text: 'x' } }),
        Object.assign(new Error('x'), { message: Symbol('x') }),
        Object.assign(new Error('x'), { stack: {} }),
        new Error('://a:'.repeat(200_000)),
      ];
      for (const shape of shapes) {
        const { url, lines } = await openWeb({
          routes: [
            get('/', { access: 'public' }, async () => {
              throw shape;
            }),
          ],
        });
        const response = await fetch(url);
        expect(response.status).to.equal(500);
        expect(response.headers.get('content-type')).to.match(/problem\+json/);
        const [line] = lines.filter(({ level }) => level === 'error');
        expect(JSON.stringify(line).length).to.be.below(25_000);
      }
    });

    it('a handler that returns nothing as a 500', async () => {
      expectProblem(await call('/nothing'), 500);
    });

    it('an unavailable database, or a lost race, as a 503 with Retry-After', async () => {
      for (const path of ['/away', '/refused', '/deadlock']) {
        const answer = await call(path);
        expectProblem(answer, 503);
        expect(answer.headers.get('retry-after'), path).to.equal('1');
      }
    });

    it('an unavailable database with one line, which says why', async () => {
      const correlationId = 'in-an-outage';
      await call('/refused', { headers: { 'x-correlation-id': correlationId } });

      await eventually(() => expect(web.access(correlationId)?.reason).to.be.a('string'));
      expect(web.lines.filter((line) => line.correlationId === correlationId)).to.have.length(1);
    });
  });

  describe('follows a request', () => {
    it('takes a sane correlation id, and makes one otherwise', async () => {
      const sent = async (value?: string) =>
        (
          await call('/users', value === undefined ? {} : { headers: { 'x-correlation-id': value } })
        ).headers.get('x-correlation-id');
      expect(await sent('order-7/a:b.c=1@x+y_z')).to.equal('order-7/a:b.c=1@x+y_z');
      for (const insane of ['', 'a b', 'é', '"', 'x'.repeat(129), undefined]) {
        expect(await sent(insane), insane).to.match(/^[\da-f-]{36}$/);
      }
      expect((await call('/nope')).headers.get('x-correlation-id')).to.match(/^[\da-f-]{36}$/);
    });

    it('writes one access line, whose level says how it ended', async () => {
      const ends = { '/users': 'info', '/missing': 'warn', '/broken': 'error', '/nope': 'warn' };
      for (const [path, level] of Object.entries(ends)) {
        const correlationId = `line${path}`;
        await call(`${path}?`, { headers: { 'x-correlation-id': correlationId } });
        const line = await eventually(() => web.access(correlationId) ?? false);
        expect(line).to.include({ level, path, method: 'GET' });
        expect(line.ms).to.be.a('number');
        expect(
          web.lines.filter(({ msg, correlationId: of }) => msg === 'request' && of === correlationId),
        ).to.have.length(1);
      }
    });

    it('leaves the query out of the log', async () => {
      await call('/users?token=hunter2', { headers: { 'x-correlation-id': 'query' } });
      await eventually(() => web.access('query') ?? false);
      expect(JSON.stringify(web.lines)).not.to.contain('hunter2');
    });

    it('measures by route template, never by path', async () => {
      await call(`/users/${USER}`);
      await call('/users/7');
      await call('/create_user', json({ name: 'Ada' }));
      await call('/secret/path');
      await eventually(async () => {
        const text = await web.metrics.registry.metrics();
        const counted = text
          .split('\n')
          .filter((line) => line.startsWith('http_request_duration_seconds_count'));
        expect(counted).to.have.members([
          'http_request_duration_seconds_count{method="GET",route="/users/:id",status="200"} 1',
          'http_request_duration_seconds_count{method="GET",route="/users/:id",status="400"} 1',
          'http_request_duration_seconds_count{method="POST",route="/users",status="201"} 1',
          'http_request_duration_seconds_count{method="GET",route="unmatched",status="404"} 1',
        ]);
      });
    });

    it('hands an incoming trace on to the work, and its id to the log', async () => {
      const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
      const seen: (string | undefined)[] = [];
      const units = {
        run: async (origin, run) => {
          seen.push(origin.traceparent);
          return run({} as never);
        },
      } as UnitsOfWork;
      const traced = await openWeb({ routes, units });
      const send = (value: string) =>
        fetch(`${traced.url}/users`, json({ name: 'a' }, { traceparent: value, 'x-correlation-id': 't' }));
      await send(traceparent);
      await send('00-00000000000000000000000000000000-b7ad6b7169203331-01');
      expect(seen).to.deep.equal([traceparent, undefined]);
      const line = await eventually(() => traced.access('t') ?? false);
      expect(line.traceId).to.equal('0af7651916cd43dd8448eb211c80319c');
    });
  });

  describe('refuses routes that cannot be meant', () => {
    const handler = async () => ({});
    const wrong: [string, Route[], RegExp][] = [
      [
        'twice the same',
        [get('/a/:x', { access: 'public' }, handler), get('/a/:y', { access: 'public' }, handler)],
        /route already exists/,
      ],
      [
        'an alias of another one',
        [
          post('/a', { access: 'public', aliases: ['/b'] }, handler),
          post('/b', { access: 'public' }, handler),
        ],
        /route already exists/,
      ],
      [
        'an alias with other parameters',
        [get('/a/:id', { access: 'public', aliases: ['/b/:other'] }, handler)],
        /must have the parameters/,
      ],
      ['a path without a slash', [get('a', { access: 'public' }, handler)], /must start with a slash/],
    ];
    for (const [title, given, reason] of wrong) {
      it(title, async () => {
        const error = await openWeb({ routes: given }).catch((error) => error);
        expect(error).to.be.instanceOf(WarrenError).with.property('code', 'invalid_route');
        expect(error.message).to.match(reason);
      });
    }
  });
});

/** What a server answers to these very bytes. */
function raw(port: number, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(text));
    let answer = '';
    socket.setEncoding('utf8');
    socket.on('data', (chunk) => {
      answer += chunk;
    });
    socket.on('end', () => {
      socket.end();
      resolve(answer);
    });
    socket.on('error', reject);
  });
}
