import { randomUUID } from 'node:crypto';
import { type RunningService, start } from '@warren/chassis';
import { findUser } from '@warren/contracts';
import { client, eventually, withBroker, withDatabase, withReplicas } from '@warren/testkit';
import { expect } from 'chai';
import { service } from '../src/service.ts';

describe('user.find over the broker', () => {
  const broker = withBroker({ services: ['user'] });
  const database = withDatabase();
  const replicas = withReplicas((env) => start(service, env), { name: 'user', broker, database });
  let user: RunningService;
  const ask = (userId: string) => broker.ask('gateway', findUser.routingKey, { userId });

  before(async () => {
    user = await replicas.start();
    await eventually(() => ask(randomUUID()));
  });

  it('returns the same as GET /users/:id', async () => {
    const { body } = await client(user.url).post('/users', { name: 'Ada', email: 'ada@example.com' });
    expect(await ask(body.id)).to.deep.equal(body);
    expect(await ask(body.id.toUpperCase())).to.deep.equal(body);
  });

  it('returns 404 for an unknown user and 400 for an invalid id', async () => {
    expect(await ask(randomUUID())).to.include({
      status: 404,
      code: 'user_unknown',
      title: 'User not found',
    });
    const invalid = await ask('42');
    expect(invalid).to.include({ status: 400, code: 'invalid_input' });
    expect(invalid.errors[0].path).to.equal('userId');
  });
});
