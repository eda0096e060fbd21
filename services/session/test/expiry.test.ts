import { start } from '@warren/chassis';
import { client, eventually, withBroker, withDatabase, withReplicas } from '@warren/testkit';
import { expect } from 'chai';
import { service } from '../src/service.ts';
import { signUpOf } from './events.ts';

describe('the end of a session', () => {
  const broker = withBroker({ services: ['session'] });
  const database = withDatabase();
  const replicas = withReplicas((env) => start(service, env), { name: 'session', broker, database });

  const startWith = async (env: Record<string, string>) => {
    const session = await replicas.start(env);
    return { session, http: client(session.url) };
  };
  const open = async (http: ReturnType<typeof client>) => {
    const { userId, published } = signUpOf();
    await broker.publish(...published);
    return eventually(async () => {
      const { body } = await http.get(`/sessions?userId=${userId}`);
      expect(body.items).to.have.length(1);
      return body.items[0];
    });
  };
  const written = async (id: string) =>
    (await database.admin<{ status: string }>('select status from sessions where id = $1', [id]))[0]?.status;

  afterEach(replicas.stopAll);

  it('comes SESSION_TTL after the sign-up', async () => {
    const { http } = await startWith({ SESSION_TTL: '800ms' });
    const { id, openedAt, expiresAt } = await open(http);
    expect(Date.parse(expiresAt) - Date.parse(openedAt)).to.equal(800);
    await eventually(async () => expect((await http.get(`/sessions/${id}`)).body.status).to.equal('expired'));
    expect(Date.now()).to.be.at.least(Date.parse(expiresAt));
    await eventually(async () => expect(await written(id)).to.equal('expired'));
  });

  it('is visible at once, before the worker has stored it', async () => {
    const { http } = await startWith({});
    const { id } = await open(http);
    await database.admin(`update sessions set expires_at = now() - interval '1 second' where id = $1`, [id]);
    expect((await http.get(`/sessions/${id}`)).body.status).to.equal('expired');
    expect(await written(id)).to.equal('active');
  });

  it('is not changed by revoking an expired session', async () => {
    const { http } = await startWith({});
    const { id } = await open(http);
    await database.admin(`update sessions set expires_at = now() - interval '1 second' where id = $1`, [id]);
    expect((await http.delete(`/sessions/${id}`)).status).to.equal(204);
    expect((await http.get(`/sessions/${id}`)).body.status).to.equal('expired');
  });

  it('leaves a revoked session revoked', async () => {
    const { http } = await startWith({ SESSION_TTL: '1500ms' });
    const first = await open(http);
    await http.delete(`/sessions/${first.id}`);
    // As a version left it that did not unschedule the expiry.
    await database.admin(
      `insert into warren.tasks (kind, key, correlation_id) values ('session.expire', $1, 'before')`,
      [first.id],
    );
    const later = await open(http);
    await eventually(async () => expect(await written(later.id)).to.equal('expired'));
    expect(await written(first.id)).to.equal('revoked');
  });

  it('is no longer scheduled once the session is revoked', async () => {
    const { http } = await startWith({});
    const { id } = await open(http);
    const tasks = () =>
      database.admin('select key from warren.tasks where kind = $1 and key = $2', ['session.expire', id]);
    expect(await tasks()).to.have.length(1);
    await http.delete(`/sessions/${id}`);
    expect(await tasks()).to.deep.equal([]);
  });

  it('is stored later by a service that was down at the time', async () => {
    const { session, http } = await startWith({ SESSION_TTL: '2s' });
    const { id } = await open(http);
    await session.stop();
    expect(await written(id)).to.equal('active');
    await startWith({});
    await eventually(async () => expect(await written(id)).to.equal('expired'));
  });

  it('is stored once, with any number of replicas', async () => {
    const replicas = [await startWith({ SESSION_TTL: '500ms' }), await startWith({ SESSION_TTL: '500ms' })];
    const ids = await Promise.all(Array.from({ length: 20 }, async () => (await open(replicas[0]!.http)).id));
    for (const id of ids) await eventually(async () => expect(await written(id)).to.equal('expired'));
    for (const { http } of replicas)
      for (const id of ids) expect((await http.get(`/sessions/${id}`)).body.status).to.equal('expired');
  });
});
