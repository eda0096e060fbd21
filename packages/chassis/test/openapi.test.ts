import { Joi } from '@warren/events';
import { withDatabase } from '@warren/testkit';
import { Ajv2020 } from 'ajv/dist/2020.js';
import * as formats from 'ajv-formats';
import { expect } from 'chai';
import { WarrenError } from '../src/errors.ts';
import { created, del, get, html, noContent, patch, post, type Route, respond } from '../src/http/routes.ts';
import { newId } from '../src/id.ts';
import { problem } from '../src/index.ts';
import { combineApis } from '../src/openapi/combine.ts';
import { describeApi } from '../src/openapi/describe.ts';
import type { OpenApiDocument } from '../src/openapi/document.ts';
import { defineService } from '../src/service/definition.ts';
import { type RunningService, start } from '../src/service/start.ts';
import { closeWebs, json, openWeb } from './http-fixture.ts';

interface Note {
  id: string;
  text: string;
}

const id = Joi.string().guid({ separator: '-', wrapper: false }).lowercase();
const note = Joi.object<Note>({ id: id.required(), text: Joi.string().max(20).required() });

const routes: Route[] = [
  post(
    '/notes',
    {
      access: 'public',
      aliases: ['/notes/write', '/write_note'],
      summary: 'Write a note',
      body: note,
      responses: { 201: note, 409: Joi.valid('note_taken') },
    },
    async ({ body }, { transaction }) => {
      const { numInsertedOrUpdatedRows } = await transaction
        .insertInto('notes')
        .values(body)
        .onConflict((conflict) => conflict.doNothing())
        .executeTakeFirstOrThrow();
      if (numInsertedOrUpdatedRows === 0n) throw problem(409, { code: 'note_taken' });
      return created(`/notes/${body.id}`, body);
    },
  ),
  get(
    '/notes/:id',
    { access: 'public', summary: 'One note', params: { id: id.required() }, responses: { 200: note } },
    async ({ params }, { database }) => {
      const found = await database
        .selectFrom('notes')
        .selectAll()
        .where('id', '=', params.id)
        .executeTakeFirst();
      if (found === undefined) throw problem(404, { code: 'note_unknown' });
      return found;
    },
  ),
  get(
    '/notes',
    {
      access: 'public',
      query: Joi.object<{ limit: number }>({ limit: Joi.number().integer().min(1).max(100).default(50) }),
      responses: {
        200: Joi.object({ items: Joi.array().items(note).required(), next: id.allow(null).required() }),
      },
    },
    async ({ query }, { database }) => ({
      items: await database.selectFrom('notes').selectAll().limit(query.limit).execute(),
      next: null,
    }),
  ),
  patch(
    '/notes/:id',
    {
      access: 'public',
      params: { id },
      body: Joi.object({ text: Joi.string() }),
      responses: { 200: note, 418: null },
    },
    async () => respond(418),
  ),
  del('/notes/:id', { access: 'public', params: { id }, responses: { 204: null } }, async () => noContent()),
  get('/broken', { access: 'public' }, async () => {
    throw new Error('broken');
  }),
  get('/slow', { access: 'public' }, (_, { signal }) => {
    const { promise, reject } = Promise.withResolvers<object>();
    signal.addEventListener('abort', () => reject(signal.reason));
    return promise;
  }),
  get(
    '/found',
    {
      access: 'public',
      query: Joi.object({ noteId: id, userId: id }).xor('noteId', 'userId'),
      description: 'What there is.',
    },
    async () => ({}),
  ),
];

const api = describeApi({ name: 'notes', version: '1.2.3', routes });

describe('the OpenAPI document of a service', () => {
  it('names every route, by its path template and method', () => {
    expect(api).to.deep.include({ openapi: '3.1.0', tags: [{ name: 'notes' }] });
    expect(api.info).to.include({ title: 'notes', version: '1.2.3' });
    expect(
      Object.entries(api.paths).map(([path, operations]) => [path, Object.keys(operations)]),
    ).to.deep.equal([
      ['/notes', ['post', 'get']],
      ['/notes/write', ['post']],
      ['/write_note', ['post']],
      ['/notes/{id}', ['get', 'patch', 'delete']],
      ['/broken', ['get']],
      ['/slow', ['get']],
      ['/found', ['get']],
    ]);
  });

  it('says of an alias what it is an alias of', () => {
    const alias = api.paths['/write_note']?.post;
    expect(alias).to.include({ operationId: 'postWriteNote', 'x-alias-of': '/notes' });
    expect(alias?.summary).to.equal('Write a note (alias of /notes)');
    expect(alias?.description).to.contain('`POST /notes`');
    expect(alias?.requestBody).to.deep.equal(api.paths['/notes']?.post?.requestBody);
    expect(alias?.responses).to.deep.equal(api.paths['/notes']?.post?.responses);
  });

  it('gives every operation an id of its own', () => {
    const twins = describeApi({
      name: 'twins',
      version: '1',
      routes: [
        get('/a/by-id', { access: 'public' }, async () => ({})),
        get('/a/:id', { access: 'public' }, async () => ({})),
      ],
    });
    expect(idsOf(twins)).to.deep.equal(['getAById', 'getAById2']);
    expect(new Set(idsOf(api)).size).to.equal(idsOf(api).length);
  });

  it('names what a route takes', () => {
    const { parameters, requestBody } = api.paths['/notes']?.post ?? {};
    expect(parameters).to.deep.equal([
      { $ref: '#/components/parameters/IdempotencyKey' },
      { $ref: '#/components/parameters/CorrelationId' },
    ]);
    expect(requestBody).to.deep.include({ required: true });
    expect(api.components?.schemas?.NewNote).to.deep.equal({
      type: 'object',
      properties: {
        id: { type: 'string', minLength: 1, format: 'uuid' },
        text: { type: 'string', minLength: 1, maxLength: 20 },
      },
      required: ['id', 'text'],
      additionalProperties: false,
    });
    expect(api.paths['/notes/{id}']?.patch?.requestBody).to.deep.include({ required: false });
    expect(api.paths['/notes/{id}']?.get?.parameters?.[0]).to.deep.equal({
      name: 'id',
      in: 'path',
      required: true,
      schema: { type: 'string', minLength: 1, format: 'uuid' },
    });
    expect(api.paths['/notes']?.get?.parameters?.[0]).to.deep.equal({
      name: 'limit',
      in: 'query',
      required: false,
      schema: { type: 'integer', minimum: 1, maximum: 100, default: 50 },
    });
  });

  it('tells in words what holds between parameters', () => {
    expect(api.paths['/found']?.get?.description).to.equal(
      'What there is.\n\nExactly one of these parameters: `noteId`, `userId`.',
    );
  });

  it('knows no Idempotency-Key where there is no database to remember it', () => {
    const { paths, components } = describeApi({ name: 'notes', version: '1', routes, database: false });
    const { parameters, responses = {} } = paths['/notes']?.post ?? {};
    expect(parameters).to.deep.equal([{ $ref: '#/components/parameters/CorrelationId' }]);
    expect(responses).to.not.have.property('422');
    expect(JSON.stringify(components?.responses)).to.not.contain('database_unavailable');
  });

  it('says which operations need a token, and what is answered without one', () => {
    const rules: Route[] = [
      get('/open', { access: 'public' }, async () => ({})),
      get('/mine', { access: 'own' }, async () => ({})),
      get('/all', { access: 'operator' }, async () => ({})),
    ];
    const { paths, components } = describeApi({ name: 'x', version: '1', routes: rules });
    expect(components?.securitySchemes?.bearer).to.include({ type: 'http', scheme: 'bearer' });
    const of = (path: string) => paths[path]?.get;
    expect(of('/open')?.security).to.deep.equal([{}, { bearer: [] }]);
    expect(Object.keys(of('/open')?.responses ?? {}))
      .to.include('401')
      .and.not.include('403');
    for (const path of ['/mine', '/all']) {
      expect(of(path)?.security).to.deep.equal([{ bearer: [] }]);
      expect(Object.keys(of(path)?.responses ?? {})).to.include.members(['401', '403']);
    }
    expect(of('/all')?.description).to.contain('operator');
  });

  it('has no reference that leads nowhere, and nothing that nobody refers to', () => {
    for (const document of [api, combineApis([api, other()], { title: 'All', version: '1' })]) {
      const refs = new Set(
        [...JSON.stringify(document).matchAll(/"\$ref":"#\/components\/([^"]+)"/g)].map(([, ref]) => ref),
      );
      const there = Object.entries(document.components ?? {}).flatMap(([kind, parts]) =>
        Object.keys(parts).map((name) => `${kind}/${name}`),
      );
      // A security scheme is named, not referred to.
      expect([...refs, 'securitySchemes/bearer'].sort()).to.deep.equal(there.sort());
    }
  });

  it('is refused for a schema that no document can hold, by the name of the route', () => {
    const body = Joi.object({ next: Joi.link('#node') }).id('node');
    expect(() =>
      describeApi({
        name: 'x',
        version: '1',
        routes: [post('/nodes', { access: 'public', body }, async () => ({}))],
      }),
    )
      .to.throw(WarrenError, 'POST /nodes')
      .with.property('code', 'invalid_route');
  });
});

describe('a service', function () {
  this.timeout(30_000);
  const database = withDatabase();
  let service: RunningService;
  let document: OpenApiDocument;

  before(async () => {
    const description = defineService({
      name: 'notes',
      version: '1.2.3',
      migrations: new URL('./fixtures/migrations/', import.meta.url),
      routes,
    });
    service = await start(description, {
      PORT: '0',
      ADMIN_PORT: '0',
      LOG_LEVEL: 'silent',
      DATABASE_URL: database.url,
      REQUEST_TIMEOUT: '500ms',
      BODY_LIMIT: '1000',
    });
    const answer = await fetch(`${service.url}/openapi.json`);
    expect(answer.headers.get('content-type')).to.equal('application/json; charset=utf-8');
    document = (await answer.json()) as OpenApiDocument;
  });
  after(() => service?.stop());

  it('gives its document at /openapi.json, which is none of its routes', () => {
    const { info, ...rest } = document;
    const { info: described, ...wanted } = api;
    expect(rest).to.deep.equal(wanted);
    expect(info).to.deep.include({ title: 'notes', version: '1.2.3' });
    expect(info.description).to.match(/^\*\*Authentication is off \(AUTH=off\)/);
    expect(info.description).to.contain(described.description);
  });

  const mine = { id: newId(), text: 'first' };
  const key = { 'idempotency-key': 'one' };
  const text = (body: string, type = 'application/json') => ({
    method: 'POST',
    headers: { 'content-type': type },
    body,
  });
  const asked: [string, string, RequestInit & { method?: string }, number, string?][] = [
    ['what was made', '/notes', json(mine, key), 201],
    ['what was made, again', '/notes', json(mine, key), 201],
    ['what was made by an alias', '/write_note', json({ ...mine, id: newId() }), 201],
    [
      'a key with other content',
      '/notes',
      json({ ...mine, text: 'other' }, key),
      422,
      'idempotency_key_reused',
    ],
    ['what is taken', '/notes', json(mine), 409, 'note_taken'],
    ['mistakes', '/notes', json({ id: 'x', more: 1 }), 400, 'invalid_input'],
    ['no JSON', '/notes', text('{'), 400, 'malformed_json'],
    ['another type', '/notes', text('a=b', 'text/plain'), 415, 'unsupported_media_type'],
    ['too much', '/notes', json({ ...mine, text: 'x'.repeat(2_000) }), 413, 'payload_too_large'],
    ['one', `/notes/${mine.id}`, {}, 200],
    ['none', `/notes/${newId()}`, {}, 404, 'note_unknown'],
    ['a page', '/notes?limit=1', {}, 200],
    ['a mistake in the query', '/notes?limits=1', {}, 400, 'invalid_input'],
    ['nothing to say', `/notes/${mine.id}`, { method: 'DELETE' }, 204],
    ['what only this route answers', `/notes/${mine.id}`, { ...json({}), method: 'PATCH' }, 418],
    ['what nobody foresaw', '/broken', {}, 500, 'internal_server_error'],
    ['what takes too long', '/slow', {}, 503, 'deadline_exceeded'],
  ];
  for (const [title, path, request, status, code] of asked)
    it(`answers as its document says: ${title} (${status})`, async () => {
      const answer = await fetch(`${service.url}${path}`, request);
      expect(answer.status).to.equal(status);
      const body = await expectDescribed(document, request.method ?? 'GET', path, answer);
      if (code !== undefined) expect(body).to.include({ code });
    });

  it('describes no answer that it would not recognise', async () => {
    const answer = (body: object) =>
      new Response(JSON.stringify(body), {
        headers: { 'content-type': 'application/json', 'x-correlation-id': 'x' },
      });
    await expectDescribed(document, 'GET', `/notes/${mine.id}`, answer(mine));
    let refused = 0;
    for (const wrong of [{}, { ...mine, text: 1 }, { ...mine, id: 'x' }])
      await expectDescribed(document, 'GET', `/notes/${mine.id}`, answer(wrong)).catch(() => {
        refused += 1;
      });
    expect(refused).to.equal(3);
  });
});

describe('GET /openapi.json', () => {
  afterEach(closeWebs);

  it("is a service's own where it has such a route", async () => {
    const web = await openWeb({
      routes: [get('/openapi.json', { access: 'public' }, async () => ({ mine: true }))],
    });
    expect(await (await fetch(`${web.url}/openapi.json`)).json()).to.deep.equal({ mine: true });
  });

  it('is not caught by a route for any name', async () => {
    const web = await openWeb({
      routes: [get('/:name', { access: 'public' }, async ({ params }) => params)],
    });
    const document = (await (await fetch(`${web.url}/openapi.json`)).json()) as OpenApiDocument;
    expect(Object.keys(document.paths)).to.deep.equal(['/{name}']);
    expect(await (await fetch(`${web.url}/other`)).json()).to.deep.equal({ name: 'other' });
  });

  it('says that a page is one, and the page is sent as it is', async () => {
    const policy = "default-src 'none'; form-action 'self'";
    const page = html(202, '<p>“Hello”</p>', { 'content-security-policy': policy });
    const web = await openWeb({
      routes: [get('/page', { access: 'public', responses: { 202: Joi.string() } }, async () => page)],
    });
    const answer = await fetch(`${web.url}/page`);
    expect([answer.status, await answer.text()]).to.deep.equal([202, '<p>“Hello”</p>']);
    expect(answer.headers.get('content-type')).to.equal('text/html; charset=utf-8');
    expect(answer.headers.get('content-security-policy')).to.equal(policy);
    const document = (await (await fetch(`${web.url}/openapi.json`)).json()) as OpenApiDocument;
    const described = document.paths['/page']?.get?.responses['202'] as { content?: object };
    expect(described.content).to.have.nested.property('text/html.schema.type', 'string');
  });

  it('answers HEAD, and other methods with 405', async () => {
    const web = await openWeb({ routes: [] });
    expect((await fetch(`${web.url}/openapi.json`, { method: 'HEAD' })).status).to.equal(200);
    expect((await fetch(`${web.url}/openapi.json`, { method: 'POST' })).status).to.equal(405);
  });
});

describe('one document of many', () => {
  const whole = combineApis([api, other()], { title: 'All', version: '2.0.0', description: 'The whole.' });

  it('has the paths and tags of all', () => {
    expect(whole.info).to.deep.equal({ title: 'All', version: '2.0.0', description: 'The whole.' });
    expect(Object.keys(whole.paths)).to.deep.equal([...Object.keys(api.paths), '/others/{id}']);
    expect(whole.tags?.map(({ name }) => name)).to.deep.equal(['notes', 'other']);
    expect(new Set(idsOf(whole)).size).to.equal(idsOf(whole).length);
  });

  it('has a component of the same name and content once', () => {
    expect(
      Object.keys(whole.components?.schemas ?? {}).filter((name) => name.endsWith('Problem')),
    ).to.deep.equal(['Problem']);
    expect(Object.keys(whole.components?.parameters ?? {})).to.deep.equal([
      'CorrelationId',
      'IdempotencyKey',
    ]);
  });

  it('renames one of the same name and other content, and what refers to it', () => {
    const { schemas } = whole.components ?? {};
    expect(schemas?.Note).to.deep.equal(api.components?.schemas?.Note);
    expect(schemas?.OtherNote).to.deep.equal(other().components?.schemas?.Note);
    expect(refOf(whole.paths['/others/{id}']?.get?.responses['200'])).to.equal(
      '#/components/schemas/OtherNote',
    );
    expect(refOf(whole.paths['/notes/{id}']?.get?.responses['200'])).to.equal('#/components/schemas/Note');
  });

  it('renames what refers to something renamed, in whatever order', () => {
    const nested = (text: string): OpenApiDocument => ({
      openapi: '3.1.0',
      info: { title: `of ${text}`, version: '1' },
      paths: {},
      components: {
        schemas: {
          Page: { type: 'array', items: { $ref: '#/components/schemas/Item' } },
          Item: { const: text },
        },
      },
    });
    const { components } = combineApis([nested('a'), nested('b'), nested('a')], { title: 'x', version: '1' });
    expect(components?.schemas).to.deep.equal({
      Item: { const: 'a' },
      OfBItem: { const: 'b' },
      OfBPage: { type: 'array', items: { $ref: '#/components/schemas/OfBItem' } },
      Page: { type: 'array', items: { $ref: '#/components/schemas/Item' } },
    });
  });

  it('gives a path that two have to the first', () => {
    const second = structuredClone(api);
    second.info.title = 'second';
    for (const operation of Object.values(second.paths['/notes'] ?? {})) operation.summary = 'of the second';
    const { paths } = combineApis([api, second], { title: 'x', version: '1' });
    expect(paths).to.deep.equal(api.paths);
  });

  it('leaves what it was given as it was', () => {
    const before = JSON.stringify(api);
    combineApis([other(), api], { title: 'x', version: '1' });
    expect(JSON.stringify(api)).to.equal(before);
  });
});

/** Has a `Note` that is not that of `notes`, and an operation id that `notes` has. */
function other(): OpenApiDocument {
  const document = describeApi({
    name: 'other',
    version: '1',
    routes: [
      get(
        '/others/:id',
        { access: 'public', responses: { 200: Joi.object({ other: Joi.boolean() }) } },
        async () => ({}),
      ),
    ],
  });
  const operation = document.paths['/others/{id}']?.get;
  if (operation !== undefined) operation.operationId = 'getNotesById';
  return JSON.parse(
    JSON.stringify(document).replaceAll('schemas/Other"', 'schemas/Note"').replace('"Other":', '"Note":'),
  );
}

const idsOf = ({ paths }: OpenApiDocument) =>
  Object.values(paths).flatMap((operations) =>
    Object.values(operations).map(({ operationId }) => operationId),
  );

const refOf = (response: object | undefined) =>
  (response as { content: Record<string, { schema: { $ref: string } }> }).content['application/json']?.schema
    .$ref;

interface Described {
  $ref?: string;
  headers?: Record<string, { $ref?: string; required?: boolean }>;
  content?: Record<string, { schema: object }>;
}

/** @returns the body, once it is one that the document describes under that status and media type */
async function expectDescribed(
  document: OpenApiDocument,
  method: string,
  path: string,
  answer: Response,
): Promise<unknown> {
  const resolve = <T extends { $ref?: string }>(part: T | undefined): T => {
    const [kind = '', name = ''] = part?.$ref?.split('/').slice(2) ?? [];
    return part?.$ref === undefined ? (part as T) : (document.components?.[kind]?.[name] as T);
  };
  const pathname = path.replace(/\?.*/, '');
  const template = Object.keys(document.paths).find((template) =>
    new RegExp(`^${template.replace(/\{\w+\}/g, '[^/]+')}$`).test(pathname),
  );
  const operation = document.paths[template ?? '']?.[method.toLowerCase()];
  const described = resolve(operation?.responses[answer.status] as Described | undefined);
  expect(described, `${method} ${template} describes ${answer.status}`).to.be.an('object');

  const { headers = {}, content = {} } = described;
  for (const [name, header] of Object.entries(headers))
    if (resolve(header).required) expect(answer.headers.has(name), `has ${name}`).to.equal(true);
  for (const name of ['location', 'retry-after', 'idempotency-replayed'])
    if (answer.headers.has(name)) expect(headers, `describes ${name}`).to.have.property(name);

  const type = answer.headers.get('content-type')?.replace(/;.*/, '');
  const body = await answer.text();
  if (type === undefined) {
    expect(body).to.equal('');
    return undefined;
  }
  expect(content, `describes ${type}`).to.have.property(type);
  const ajv = new Ajv2020({ strict: false, multipleOfPrecision: 6 });
  formats.default.default(ajv);
  const value = JSON.parse(body);
  // Answers may gain fields later; this one has none that its document does not know.
  ajv.validate(
    {
      ...content[type]?.schema,
      unevaluatedProperties: false,
      components: document.components,
    },
    value,
  );
  expect(ajv.errors ?? []).to.deep.equal([]);
  return value;
}
