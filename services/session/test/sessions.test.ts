import { randomUUID } from 'node:crypto';
import { type RunningService, start } from '@warren/chassis';
import { client, eventually, withBroker, withDatabase, withReplicas } from '@warren/testkit';
import { expect } from 'chai';
import { service } from '../src/service.ts';
import { signUpOf } from './events.ts';

describe('reading and revoking sessions', () => {
  const broker = withBroker({ services: ['session'] });
  const database = withDatabase();
  const replicas = withReplicas((env) => start(service, env), { name: 'session', broker, database });
  let session: RunningService;
  let http: ReturnType<typeof client>;

  const open = async () => {
    const { userId, published } = signUpOf();
    await broker.publish(...published);
    return eventually(async () => {
      const { body } = await http.get(`/sessions?userId=${userId}`);
      expect(body.items).to.have.length(1);
      return body.items[0];
    });
  };

  before(async () => {
    session = await replicas.start();
    http = client(session.url);
  });

  it('returns an empty list for a user without sessions', async () => {
    expect((await http.get(`/sessions?userId=${randomUUID()}`)).body).to.deep.equal({ items: [] });
  });

  for (const path of ['/sessions', '/sessions?userId=42', '/sessions/42'])
    it(`refuses GET ${path}, naming the field`, async () => {
      const { status, body } = await http.get(path);
      expect(status).to.equal(400);
      expect(body.errors[0].path).to.equal(path.includes('/42') ? 'id' : 'userId');
    });

  it('returns 404 for an unknown session', async () => {
    const path = `/sessions/${randomUUID()}`;
    for (const answer of [await http.get(path), await http.delete(path)]) {
      expect(answer.status).to.equal(404);
      expect(answer.body).to.include({ status: 404, title: 'Session not found' });
    }
  });

  it('revokes a session idempotently', async () => {
    const { id, ...rest } = await open();
    for (const _ of ['once', 'again']) {
      const answer = await http.delete(`/sessions/${id}`);
      expect(answer.status).to.equal(204);
      expect(answer.text).to.equal('');
      expect((await http.get(`/sessions/${id}`)).body).to.deep.equal({ id, ...rest, status: 'revoked' });
    }
  });

  it('refuses to revoke an invalid id', async () => {
    expect((await http.delete('/sessions/42')).status).to.equal(400);
  });

  it('reports ready, with the state of its broker', async () => {
    const { status, body } = await client(session.adminUrl).get('/readyz');
    expect(status).to.equal(200);
    expect(JSON.stringify(body)).to.contain('broker');
  });

  it('exposes metrics of consumed events and their lag', async () => {
    await open();
    const { text } = await client(session.adminUrl).get('/metrics');
    expect(text).to.match(
      /events_consumed_total\{(?=[^}]*queue="session.user.created")(?=[^}]*outcome="handled")/,
    );
    expect(text).to.match(/event_lag_seconds_count\{(?=[^}]*type="user.created")/);
    expect(text).to.match(/tasks_pending\{[^}]*kind="session.expire"[^}]*\} \d+/);
    expect(text).to.match(/broker_connected(\{[^}]*\})? 1/);
  });
});
