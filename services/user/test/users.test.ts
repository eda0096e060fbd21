import { randomUUID } from 'node:crypto';
import { type RunningService, start } from '@warren/chassis';
import { client, withBroker, withDatabase, withReplicas } from '@warren/testkit';
import { expect } from 'chai';
import { service } from '../src/service.ts';

describe('reading users', () => {
  const broker = withBroker({ services: ['user'] });
  const database = withDatabase();
  const replicas = withReplicas((env) => start(service, env), { name: 'user', broker, database });
  let user: RunningService;
  let http: ReturnType<typeof client>;
  const ids: string[] = [];

  before(async () => {
    user = await replicas.start();
    http = client(user.url);
    for (let n = 0; n < 7; n++)
      ids.push((await http.post('/users', { name: `User ${n}`, email: `user${n}@example.com` })).body.id);
  });

  it('returns 404 for an unknown user and 400 for an invalid id', async () => {
    const unknown = await http.get(`/users/${randomUUID()}`);
    expect(unknown.status).to.equal(404);
    expect(unknown.body).to.include({ status: 404, title: 'User not found' });
    const invalid = await http.get('/users/42');
    expect(invalid.status).to.equal(400);
    expect(invalid.body.errors[0].path).to.equal('id');
  });

  it('finds a user by an id in upper case', async () => {
    expect((await http.get(`/users/${ids[0]?.toUpperCase()}`)).body.id).to.equal(ids[0]);
  });

  it('lists all users page by page, each once, in order of sign-up', async () => {
    const seen: string[] = [];
    let next: string | null = null;
    do {
      const page: Awaited<ReturnType<typeof http.get>> = await http.get(
        `/users?limit=3${next ? `&after=${next}` : ''}`,
      );
      expect(page.status).to.equal(200);
      expect(page.body.items.length).to.be.within(1, 3);
      seen.push(...page.body.items.map(({ id }: { id: string }) => id));
      next = page.body.next;
    } while (next !== null);
    expect(seen).to.deep.equal(ids);
  });

  it('returns no next cursor on the last page, even if it is full', async () => {
    const { body } = await http.get(`/users?limit=7`);
    expect(body.items).to.have.length(7);
    expect(body.next).to.equal(null);
    const past = await http.get(`/users?after=${ids.at(-1)}`);
    expect(past.body).to.deep.equal({ items: [], next: null });
  });

  it('refuses a cursor that is not on the list, instead of returning an empty page', async () => {
    const { status, body } = await http.get(`/users?after=${randomUUID()}`);
    expect([status, body.code]).to.deep.equal([400, 'cursor_unknown']);
  });

  for (const query of ['limit=0', 'limit=101', 'limit=x', 'after=42', 'page=2'])
    it(`refuses ?${query}`, async () => {
      const { status, body } = await http.get(`/users?${query}`);
      expect(status).to.equal(400);
      expect(body.errors[0].path).to.equal(query.split('=')[0]);
    });

  it('reports ready, with the state of its broker', async () => {
    const { status, body } = await client(user.adminUrl).get('/readyz');
    expect(status).to.equal(200);
    expect(JSON.stringify(body)).to.contain('broker');
  });

  it('labels request metrics by route, never by path', async () => {
    await http.get(`/users/${ids[0]}`);
    const { text } = await client(user.adminUrl).get('/metrics');
    expect(text).to.match(/http_request_duration_seconds_count\{[^}]*route="\/users\/:id"[^}]*\} \d+/);
    expect(text).not.to.contain(ids[0]);
    expect(text).to.match(/build_info\{[^}]*service="user"/);
  });
});
