import { randomUUID } from 'node:crypto';
import { type RunningService, start } from '@warren/chassis';
import { userCreated } from '@warren/contracts';
import { eventually, message, withBroker, withDatabase, withKeys } from '@warren/testkit';
import { service } from '../src/service.ts';

const signedUp = (userId: string = randomUUID()) =>
  message(userCreated, { userId, name: 'Ada Lovelace', email: 'ada@example.com' }, { subject: userId });

describe('the keys of the session service', () => {
  const broker = withBroker({ services: ['session'] });
  const database = withDatabase();
  const keys = withKeys({ service, broker, database });
  let session: RunningService;

  before(async () => {
    session = await start(service, {
      PORT: '0',
      ADMIN_PORT: '0',
      AMQP_URL: broker.url('session'),
      DATABASE_URL: database.url,
      LOG_LEVEL: 'silent',
    });
    await eventually(() => session.ready());
  });
  after(() => session?.stop());

  keys.itKeepsApart('sign-ups of two users', () => [signedUp(), signedUp()]);
  keys.itOrders('two sign-ups of one user', () => {
    const userId = randomUUID();
    return [signedUp(userId), signedUp(userId)];
  });
});
