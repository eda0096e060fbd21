import { randomUUID } from 'node:crypto';
import { type RunningService, start } from '@warren/chassis';
import { listSessions } from '@warren/contracts';
import { client, eventually, withBroker, withDatabase } from '@warren/testkit';
import { expect } from 'chai';
import { service } from '../src/service.ts';
import { signUpOf } from './events.ts';

describe('session.list over the broker', () => {
  const broker = withBroker({ services: ['session'] });
  const database = withDatabase();
  let session: RunningService;
  const ask = (userId: string) => broker.ask('gateway', listSessions.routingKey, { userId });

  before(async () => {
    session = await start(service, {
      PORT: '0',
      ADMIN_PORT: '0',
      LOG_LEVEL: 'silent',
      AMQP_URL: broker.url('session'),
      DATABASE_URL: database.url,
    });
    await eventually(() => ask(randomUUID()));
  });
  after(() => session?.stop());

  it('returns the same as GET /sessions?userId=', async () => {
    const { userId, publish } = signUpOf();
    await broker.publish(...publish);
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
