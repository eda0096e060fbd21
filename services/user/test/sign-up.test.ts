import { type RunningService, start } from '@warren/chassis';
import { userCreated } from '@warren/contracts';
import { parseEvent } from '@warren/events';
import { client, withBroker, withDatabase, withReplicas } from '@warren/testkit';
import { expect } from 'chai';
import { service } from '../src/service.ts';

describe('signing up', () => {
  const broker = withBroker({ services: ['user'] });
  const database = withDatabase();
  const replicas = withReplicas((env) => start(service, env), { name: 'user', broker, database });
  let user: RunningService;
  let http: ReturnType<typeof client>;

  before(async () => {
    user = await replicas.start();
    http = client(user.url);
  });

  it('returns 201 with the user and its location', async () => {
    const answer = await http.post('/users', { name: '  Ada Lovelace ', email: ' Ada@Example.COM ' });
    expect(answer.status).to.equal(201);
    expect(answer.body).to.have.all.keys('id', 'name', 'email', 'createdAt');
    expect(answer.body).to.include({ name: 'Ada Lovelace', email: 'Ada@example.com' });
    expect(new Date(answer.body.createdAt).toISOString()).to.equal(answer.body.createdAt);
    expect(answer.headers.get('location')).to.equal(`/users/${answer.body.id}`);
    expect((await http.get(`/users/${answer.body.id}`)).body).to.deep.equal(answer.body);
  });

  for (const alias of ['/users/save', '/create_user'])
    it(`works at the alias ${alias}`, async () => {
      const { status, body } = await http.post(alias, {
        name: 'Grace',
        email: `grace${alias.length}@example.com`,
      });
      expect(status).to.equal(201);
      expect((await http.get(`/users/${body.id}`)).body).to.deep.equal(body);
    });

  it('publishes user.created once, with the correlation id of the request', async () => {
    const probe = await broker.probe('events', 'user.#');
    const { body } = await http.post(
      '/users',
      { name: 'Mary', email: 'mary@example.com' },
      { 'x-correlation-id': 'sign-up-of-mary' },
    );
    const [message] = await probe.waitFor(({ content }) => content.includes(body.id));
    const event = parseEvent(message!.content, [userCreated]);
    expect(event.data).to.deep.equal({ userId: body.id, name: 'Mary', email: 'mary@example.com' });
    expect(event).to.include({ source: '/user', subject: body.id, correlationid: 'sign-up-of-mary' });
    expect(message!.fields.routingKey).to.equal('user.created.v1');
    expect(message!.properties).to.include({
      messageId: event.id,
      type: 'user.created',
      appId: 'user',
      correlationId: 'sign-up-of-mary',
      deliveryMode: 2,
      contentType: 'application/cloudevents+json',
    });
  });

  it('refuses an address that is too long once its domain is in lower case', async () => {
    const email = `${'a'.repeat(50)}@${`${'x'.repeat(60)}.`.repeat(3)}İ${'x'.repeat(15)}.com`;
    expect(email).to.have.length(254);
    const { status, body } = await http.post('/users', { name: 'Ada', email });
    expect(status).to.equal(400);
    expect(body.errors[0].path).to.equal('email');
  });

  it('refuses an address that is taken, also in other case, and publishes nothing', async () => {
    const probe = await broker.probe('events', 'user.#');
    await http.post('/users', { name: 'Joan', email: 'joan@example.com' });
    const { status, body, headers } = await http.post('/users', { name: 'John', email: 'JOAN@EXAMPLE.com' });
    expect(status).to.equal(409);
    expect(headers.get('content-type')).to.match(/^application\/problem\+json/);
    expect(body).to.include({ status: 409, title: 'E-mail address taken' });

    await http.post('/users', { name: 'Last', email: 'last@example.com' });
    await probe.waitFor(({ content }) => content.includes('last@example.com'));
    expect(probe.events.map(({ body }) => body.data.name)).to.deep.equal(['Joan', 'Last']);
  });

  for (const [what, spellings] of [
    [
      'an internationalised domain',
      ['idn@exämple.de', 'idn@xn--exmple-cua.de', 'IDN@EXÄMPLE.de', 'idn@exa\u0308mple.de'],
    ],
    ['full-width letters', ['wide@wide.example', 'wide@ｗｉｄｅ.example']],
  ] as const)
    it(`treats every spelling of ${what} as one mailbox`, async () => {
      const statuses: number[] = [];
      for (const email of spellings)
        statuses.push((await http.post('/users', { name: 'Ada', email })).status);
      expect(statuses).to.deep.equal([201, ...spellings.slice(1).map(() => 409)]);
    });

  it('treats ß and ss as different domains, as mail servers do', async () => {
    for (const email of ['s@faß.example', 's@fass.example'])
      expect((await http.post('/users', { name: 'Ada', email })).status).to.equal(201);
  });

  it('refuses an address that an older account has, in the same spelling', async () => {
    await database.admin(
      `insert into users values (gen_random_uuid(), 'Old', 'old@exämple.de', 'old@exämple.de', now())`,
    );
    expect((await http.post('/users', { name: 'New', email: 'Old@exämple.de' })).status).to.equal(409);
  });

  it('accepts a name of 200 emoji', async () => {
    const name = '😀'.repeat(200);
    const { status, body } = await http.post('/users', { name, email: 'emoji@example.com' });
    expect(status).to.equal(201);
    expect(body.name).to.equal(name);
  });

  it('signs up one of many concurrent requests for the same address', async () => {
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, n) =>
        http.post('/users', { name: `Twin ${n}`, email: 'twin@example.com' }),
      ),
    );
    expect(answers.map(({ status }) => status).sort()).to.deep.equal([201, ...Array(19).fill(409)]);
  });

  it('signs up once per Idempotency-Key, across all aliases', async () => {
    const twice = { 'idempotency-key': 'only-once' };
    const first = await http.post('/users', { name: 'Once', email: 'once@example.com' }, twice);
    const second = await http.post('/create_user', { name: 'Once', email: 'once@example.com' }, twice);
    expect(first.status).to.equal(201);
    expect(second.status).to.equal(201);
    expect(second.body).to.deep.equal(first.body);
    expect(second.headers.get('location')).to.equal(first.headers.get('location'));
    const other = await http.post('/users', { name: 'Twice', email: 'twice@example.com' }, twice);
    expect(other.status).to.equal(422);
  });

  const wrong: [string, object, string[]][] = [
    ['no name', { email: 'a@example.com' }, ['name']],
    ['an empty name', { name: '   ', email: 'a@example.com' }, ['name']],
    ['a name of 201 characters', { name: 'x'.repeat(201), email: 'a@example.com' }, ['name']],
    ['a name with a control character', { name: 'A\u0000da', email: 'a@example.com' }, ['name']],
    ['a name with half a surrogate pair', { name: 'A\ud800da', email: 'a@example.com' }, ['name']],
    ['a name that is no string', { name: 42, email: 'a@example.com' }, ['name']],
    ['a name of 201 emoji', { name: '😀'.repeat(201), email: 'a@example.com' }, ['name']],
    ['an invisible name', { name: '\u200b\u3164', email: 'a@example.com' }, ['name']],
    ['a name that changes the direction of text', { name: 'A\u202eda', email: 'a@example.com' }, ['name']],
    ['a name of two lines', { name: 'A\u2028da', email: 'a@example.com' }, ['name']],
    ['an e-mail with an invisible mark', { name: 'Ada', email: 'a\u200bb@example.com' }, ['email']],
    ['an e-mail at a number', { name: 'Ada', email: 'a@0x7f.1' }, ['email']],
    ['no e-mail', { name: 'Ada' }, ['email']],
    ['an e-mail without a host', { name: 'Ada', email: 'ada@' }, ['email']],
    [
      'an e-mail of 255 characters',
      { name: 'Ada', email: `ada@${'x'.repeat(60)}.${'y'.repeat(186)}.com` },
      ['email'],
    ],
    ['an unknown field', { name: 'Ada', email: 'a@example.com', admin: true }, ['admin']],
    ['nothing right', { name: '', email: 'no' }, ['name', 'email']],
  ];
  for (const [what, body, paths] of wrong)
    it(`refuses ${what}, naming every invalid field`, async () => {
      const answer = await http.post('/users', body);
      expect(answer.status).to.equal(400);
      const named = new Set(answer.body.errors.map(({ path }: { path: string }) => path));
      expect([...named]).to.have.members(paths);
    });
});
