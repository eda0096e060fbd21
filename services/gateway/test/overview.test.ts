import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import {
  defineBroker,
  defineService,
  type MethodHandler,
  problem,
  type RunningService,
  type ServiceDescription,
  start,
} from '@warren/chassis';
import { findUser, listOrders, listPayments, listSessions } from '@warren/contracts';
import { client, eventually, freePorts, startProcess, withBroker, withDatabase } from '@warren/testkit';
import { expect } from 'chai';
import { closeGateways, openGateway } from './gateway.ts';

const STRANGER = randomUUID();
const CREATED = '2026-01-01T00:00:00.000Z';

type Method = typeof findUser | typeof listSessions | typeof listOrders | typeof listPayments;

/** A service that handles one method, and has nothing else. */
// biome-ignore lint/suspicious/noExplicitAny: of each method another one
const handling = (method: Method, handle: MethodHandler<{ userId: string }, any>): ServiceDescription =>
  defineService({
    name: method.service,
    version: '1.0.0',
    broker: defineBroker(method.service, {
      vhosts: {
        publish: {},
        consume: {
          subscriptions: {
            [`${method.service}.rpc`]: {
              methods: { [method.routingKey]: method },
              prefetch: 1_100,
              redeliveries: { limit: 10 },
            },
          },
        },
      },
    }),
    methods: { [method.routingKey]: handle },
  });

const services = {
  user: handling(findUser, async ({ userId }) => {
    if (userId === STRANGER) throw problem(404, { code: 'user_unknown', detail: 'There is no such user.' });
    return { id: userId, name: 'Zoë', email: 'zoe@example.com', createdAt: CREATED };
  }),
  session: handling(listSessions, async ({ userId }) => ({
    items: [{ id: randomUUID(), userId, status: 'active', openedAt: CREATED, expiresAt: CREATED }],
  })),
  order: handling(listOrders, async () => ({ items: [] })),
  payment: handling(listPayments, async () => ({ items: [] })),
};

describe('the overview', () => {
  describe('while the broker is available', () => {
    const broker = withBroker({ services: ['gateway', ...Object.keys(services)] });
    const running = new Map<string, RunningService>();
    const up = async (name: keyof typeof services) => {
      const env = { PORT: '0', ADMIN_PORT: '0', LOG_LEVEL: 'silent', AMQP_URL: broker.url(name) };
      const service = await start(services[name], env);
      running.set(name, service);
      await eventually(() => service.ready());
    };
    const down = async (name: keyof typeof services) => {
      await running.get(name)?.stop();
      running.delete(name);
    };
    let http: ReturnType<typeof client>;

    before(async () => {
      for (const name of Object.keys(services) as (keyof typeof services)[]) await up(name);
      const gateway = await openGateway({ AMQP_URL: broker.url('gateway'), OVERVIEW_TIMEOUT: '700ms' });
      await eventually(() => gateway.ready());
      http = client(gateway.url);
    });
    after(async () => {
      await closeGateways();
      await Promise.all([...running.values()].map((service) => service.stop()));
    });

    const whole = async (userId: string) =>
      eventually(async () => {
        const answer = await http.get(`/overview/${userId}`);
        expect(answer.body.missing).to.deep.equal([]);
        return answer;
      });

    it('contains user, sessions, orders and payments from the services', async () => {
      const userId = randomUUID();
      const { status, body } = await whole(userId);
      expect(status).to.equal(200);
      expect(body).to.have.all.keys('user', 'sessions', 'orders', 'payments', 'missing');
      expect(body.user).to.include({ id: userId, name: 'Zoë' });
      expect(body.sessions[0]).to.include({ userId, status: 'active' });
      expect([body.orders, body.payments]).to.deep.equal([[], []]);
    });

    it('returns 404 when the user service does', async () => {
      await whole(randomUUID());
      const { status, body } = await http.get(`/overview/${STRANGER}`);
      expect(status).to.equal(404);
      expect(body).to.include({ code: 'user_unknown' });
    });

    it('returns 400 for an invalid id', async () => {
      expect((await http.get('/overview/42')).status).to.equal(400);
    });

    it('lists the parts of unavailable services within its deadline, and has them again after they recover', async () => {
      const userId = randomUUID();
      await whole(userId);
      await down('order');
      await down('user');
      const began = performance.now();
      const { status, body } = await http.get(`/overview/${userId}`);
      expect(performance.now() - began).to.be.lessThan(10_000);
      expect(status).to.equal(200);
      expect(body).to.deep.include({ user: null, orders: null, payments: [], missing: ['user', 'orders'] });
      expect(body.sessions).to.have.length(1);
      await up('order');
      await up('user');
      await whole(userId);
    });
  });

  describe('while the broker is unavailable', () => {
    it('lists every part as missing, at once', async () => {
      const gateway = await openGateway({ OVERVIEW_TIMEOUT: '5s' });
      const began = performance.now();
      const { status, body } = await client(gateway.url).get(`/overview/${randomUUID()}`);
      expect(performance.now() - began).to.be.lessThan(4_000);
      expect(status).to.equal(200);
      expect(body).to.deep.equal({
        user: null,
        sessions: null,
        orders: null,
        payments: null,
        missing: ['user', 'sessions', 'orders', 'payments'],
      });
      await closeGateways();
    });
  });

  describe('across an outage of the broker', () => {
    const broker = withBroker({ services: ['gateway', 'user'], private: true });
    const database = withDatabase();
    after(closeGateways);

    it('has the user from the real service, lists it as missing while the broker is down, and has it again after', async function () {
      this.timeout(90_000);
      const [PORT = 0, ADMIN_PORT = 0] = await freePorts(2);
      const user = startProcess({
        cwd: fileURLToPath(new URL('../../user', import.meta.url)),
        env: { PORT, ADMIN_PORT, AMQP_URL: broker.url('user'), DATABASE_URL: database.url },
      });
      try {
        await user.ready();
        const gateway = await openGateway({
          AMQP_URL: broker.url('gateway'),
          USER_URL: `http://127.0.0.1:${PORT}`,
          OVERVIEW_TIMEOUT: '3s',
        });
        const http = client(gateway.url);
        for (const path of ['/users', '/users/save', '/create_user']) {
          const { status, headers, body } = await http.post(path, {
            name: 'Zoë',
            email: `${randomUUID()}@example.com`,
          });
          expect(status).to.equal(201);
          expect(headers.get('location')).to.equal(`/users/${body.id}`);
        }
        const { body: zoe } = await http.post('/users', { name: 'Zoë', email: 'zoe@example.com' });
        const asked = async () => (await http.get(`/overview/${zoe.id}`)).body;
        const known = () =>
          eventually(async () => expect((await asked()).user).to.deep.equal(zoe), { timeout: 30_000 });
        await known();
        await broker.stop();
        await eventually(async () => {
          const began = performance.now();
          expect((await asked()).missing).to.have.length(4);
          expect(performance.now() - began).to.be.lessThan(500);
        });
        expect((await http.get(`/users/${zoe.id}`)).status).to.equal(200);
        await broker.start();
        await known();
      } finally {
        await user.kill();
      }
    });
  });
});
