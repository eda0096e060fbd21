import { randomUUID } from 'node:crypto';
import {
  defineService,
  get,
  type RunningService,
  receivesReplies,
  sharedExchanges,
  start,
} from '@warren/chassis';
import { findUser } from '@warren/contracts';
import { client, eventually, withBroker, withDatabase } from '@warren/testkit';
import { expect } from 'chai';
import { service } from '../src/service.ts';

const asker = defineService({
  name: 'asker',
  version: '0.1.0',
  broker: (settings) => ({
    vhosts: { publish: { exchanges: sharedExchanges() }, consume: receivesReplies('asker', settings) },
  }),
  routes: [get('/users/:userId', {}, ({ params }, { request }) => request(findUser, params))],
});

describe('user.find over the broker', () => {
  const broker = withBroker({ services: ['user', 'asker'] });
  const database = withDatabase();
  const running: RunningService[] = [];
  let http: ReturnType<typeof client>;
  let asking: ReturnType<typeof client>;

  before(async () => {
    const env = { PORT: '0', ADMIN_PORT: '0', LOG_LEVEL: 'silent' };
    const user = await start(service, {
      ...env,
      AMQP_URL: broker.url('user'),
      DATABASE_URL: database.url,
    });
    running.push(user);
    const other = await start(asker, { ...env, AMQP_URL: broker.url('asker') });
    running.push(other);
    http = client(user.url);
    asking = client(other.url);
    await eventually(async () => expect((await asking.get(`/users/${randomUUID()}`)).status).to.equal(404));
  });
  after(() => Promise.all(running.map((each) => each.stop())));

  it('answers what GET /users/:id answers', async () => {
    const { body } = await http.post('/users', { name: 'Ada', email: 'ada@example.com' });
    const answer = await asking.get(`/users/${body.id}`);
    expect(answer.status).to.equal(200);
    expect(answer.body).to.deep.equal(body);
    expect((await asking.get(`/users/${body.id.toUpperCase()}`)).body).to.deep.equal(body);
  });

  it('answers 404 for a user nobody knows, 400 for an id that is none', async () => {
    const unknown = await asking.get(`/users/${randomUUID()}`);
    expect(unknown.body).to.include({ status: 404, code: 'user_unknown', title: 'User unknown' });
    const invalid = await asking.get('/users/42');
    expect(invalid.body).to.include({ status: 400, code: 'invalid_input' });
    expect(invalid.body.errors[0].path).to.equal('userId');
  });
});
