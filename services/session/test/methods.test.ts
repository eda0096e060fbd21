import { randomUUID } from 'node:crypto';
import { type RunningService, start } from '@warren/chassis';
import { listSessions } from '@warren/contracts';
import { client, eventually, withBroker, withDatabase, withReplicas } from '@warren/testkit';
import { expect } from 'chai';
import { service } from '../src/service.ts';
import { signUpOf } from './events.ts';

describe('session.list over the broker', () => {
  const broker = withBroker({ services: ['session'] });
  const database = withDatabase();
  const replicas = withReplicas((env) => start(service, env), { name: 'session', broker, database });
  let session: RunningService;
  const ask = (userId: string) => broker.ask('gateway', listSessions.routingKey, { userId });

  before(async () => {
    session = await replicas.start();
    await eventually(() => ask(randomUUID()));
  });

  it('returns the same as GET /sessions?userId=', async () => {
    const { userId, published } = signUpOf();
    await broker.publish(...published);
    const sessions = async () => (await client(session.url).get(`/sessions?userId=${userId}`)).body;
    await eventually(async () => expect((await sessions()).items).to.have.length(1));
    expect(await ask(userId)).to.deep.equal(await sessions());
  });

  it('returns an empty list for an unknown user and 400 for an invalid id', async () => {
    expect(await ask(randomUUID())).to.deep.equal({ items: [] });
    const invalid = await ask('42');
    expect(invalid).to.include({ status: 400, code: 'invalid_input' });
    expect(invalid.errors[0].path).to.equal('userId');
  });
});
