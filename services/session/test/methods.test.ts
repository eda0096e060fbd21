import { randomUUID } from 'node:crypto';
import {
  defineService,
  get,
  type RunningService,
  receivesReplies,
  sharedExchanges,
  start,
} from '@warren/chassis';
import { listSessions } from '@warren/contracts';
import { client, eventually, withBroker, withDatabase } from '@warren/testkit';
import { expect } from 'chai';
import { service } from '../src/service.ts';
import { signUpOf } from './events.ts';

const asker = defineService({
  name: 'asker',
  version: '0.1.0',
  broker: (settings) => ({
    vhosts: { publish: { exchanges: sharedExchanges() }, consume: receivesReplies('asker', settings) },
  }),
  routes: [get('/sessions/:userId', {}, ({ params }, { request }) => request(listSessions, params))],
});

describe('session.list over the broker', () => {
  const broker = withBroker({ services: ['session', 'asker'] });
  const database = withDatabase();
  const running: RunningService[] = [];
  let http: ReturnType<typeof client>;
  let asking: ReturnType<typeof client>;

  before(async () => {
    const env = { PORT: '0', ADMIN_PORT: '0', LOG_LEVEL: 'silent' };
    const session = await start(service, {
      ...env,
      AMQP_URL: broker.url('session'),
      DATABASE_URL: database.url,
    });
    running.push(session);
    const other = await start(asker, { ...env, AMQP_URL: broker.url('asker') });
    running.push(other);
    http = client(session.url);
    asking = client(other.url);
    await eventually(async () =>
      expect((await asking.get(`/sessions/${randomUUID()}`)).status).to.equal(200),
    );
  });
  after(() => Promise.all(running.map((each) => each.stop())));

  it('answers what GET /sessions?userId= answers', async () => {
    const { userId, publish } = signUpOf();
    await broker.publish(...publish);
    await eventually(async () =>
      expect((await http.get(`/sessions?userId=${userId}`)).body.items).to.have.length(1),
    );
    const answer = await asking.get(`/sessions/${userId}`);
    expect(answer.status).to.equal(200);
    expect(answer.body).to.deep.equal((await http.get(`/sessions?userId=${userId}`)).body);
  });

  it('answers an empty list for a user nobody knows, 400 for an id that is none', async () => {
    expect((await asking.get(`/sessions/${randomUUID()}`)).body).to.deep.equal({ items: [] });
    const invalid = await asking.get('/sessions/42');
    expect(invalid.body).to.include({ status: 400, code: 'invalid_input' });
    expect(invalid.body.errors[0].path).to.equal('userId');
  });
});
