// Who may do what: every caller at every route, through the gateway and straight to the service; and every caller of every
// method over the broker. The tables are made from the routes and methods that the services declare, so a new one is in them.
import { randomUUID } from 'node:crypto';
import { eventually } from '@warren/testkit';
import { expect } from 'chai';
import type { Route } from '../../../packages/chassis/src/index.ts';
import { requestQueues } from '../../../packages/chassis/src/messaging/broker.ts';
import { serviceDescriptions } from '../../../scripts/services.ts';
import {
  bearer,
  createClient,
  everyService,
  type Name,
  type Replica,
  withSystem,
} from '../../support/src/index.ts';

interface Example {
  method: string;
  path: string;
  body?: object;
}

/** What belongs to one user. */
interface Belongings {
  user: string;
  session: string;
  order: string;
  payment: string;
}

/** Bodies of the routes that take one: of the user, and new each time. */
const BODIES: Record<string, (ada: Belongings) => object> = {
  'POST /users': () => ({ name: 'Someone', email: `${randomUUID()}@example.com` }),
  'POST /orders': ({ user }) => ({ userId: user, productName: 'Lamp', price: 1 }),
};

const services = await serviceDescriptions();
const client = createClient();

/** A request to the route for what belongs to the user. */
function exampleOf({ method, path, query, body }: Route, ada: Belongings): Example {
  const resource = path.split('/')[1]?.replace(/s$/, '') as keyof Belongings;
  const filled = path.replaceAll(':userId', ada.user).replaceAll(':id', ada[resource]);
  const fields = query === undefined ? [] : fieldsOf(query);
  const made = body === undefined ? undefined : BODIES[`${method} ${path}`]?.(ada);
  if (body !== undefined && made === undefined)
    throw new Error(`${method} ${path} is not in this test: give an example of its body in BODIES`);
  return {
    method,
    path: `${filled}${fields.includes('userId') ? `?userId=${ada.user}` : ''}`,
    ...(made !== undefined && { body: made }),
  };
}

const fieldsOf = (query: object): string[] =>
  'describe' in query
    ? Object.keys((query as { describe(): { keys?: object } }).describe().keys ?? {})
    : Object.keys(query);

/** `ok`: any response of the route to a caller that it accepts. */
type Outcome = 'ok' | 401 | 403;

const LET_IN = ['the user', 'the operator', 'another user', 'a token without a subject', 'nobody'] as const;

function expected({ access, method }: Pick<Route, 'access' | 'method'>, who: string): Outcome {
  if (!(LET_IN as readonly string[]).includes(who)) return 401;
  if (access === 'public') return 'ok';
  if (who === 'nobody') return 401;
  if (who === 'the operator') return access === 'operator' || method === 'GET' ? 'ok' : 403;
  return who === 'the user' && access !== 'operator' ? 'ok' : 403;
}

describe('access', () => {
  const system = withSystem({ services: everyService, auth: true });
  let replicas: Record<Name, Replica>;
  let ada: Belongings;
  let tokens: Record<(typeof LET_IN)[number], string | undefined> & Record<string, string | undefined>;

  before('a user, and tokens of all kinds', async function () {
    this.timeout(90_000);
    replicas = await system.runAll();
    const { issuer } = system;
    const door = replicas.gateway.url;
    const signedUp = await client.send('POST', `${door}/users`, {
      body: { name: 'Ada', email: 'ada@example.com' },
    });
    const user = signedUp.body.id as string;
    const own = await issuer.token({ sub: user });
    const first = (path: string) =>
      eventually(async () => {
        const { body } = await client.send('GET', `${door}${path}?userId=${user}`, { headers: bearer(own) });
        expect(body.items).to.have.length(1);
        return body.items[0];
      });
    const [session, order, payment] = [
      await first('/sessions'),
      await first('/orders'),
      await first('/payments'),
    ];
    ada = { user, session: session.id, order: order.orderId, payment: payment.id };
    tokens = {
      nobody: undefined,
      'the user': own,
      'the operator': await issuer.token({ sub: randomUUID(), roles: ['operator'] }),
      'another user': await issuer.token({ sub: randomUUID() }),
      'a token without a subject': await issuer.token({}),
      ...(await issuer.invalidTokens(user)),
    };
  });
  after(() => client.close());

  const outcomeOf = async (
    url: string,
    { method, path, body }: Example,
    token: string | undefined,
    isPublic = false,
  ) => {
    const { status, headers } = await client.send(method, `${url}${path}`, {
      ...(body !== undefined && { body }),
      headers: {
        ...(token !== undefined && bearer(token)),
        'x-warren-subject': ada.user,
        'x-warren-roles': 'operator',
      },
    });
    if (status === 401 || status === 403) expect(headers['www-authenticate']).to.match(/^Bearer /);
    if (status === 401 || status === 403) return status;
    // What a public route answers to a request without what it is about, such as the token of a link, is its own affair.
    return status < (isPublic ? 500 : 300) ? 'ok' : `${status}`;
  };

  for (const { name, routes = [] } of services)
    for (const route of routes)
      for (const path of [route.path, ...(route.aliases ?? [])])
        for (const door of name === 'gateway' ? (['gateway'] as const) : (['gateway', name as Name] as const))
          it(`${route.method} ${path} at ${door}`, async () => {
            const example = { ...exampleOf(route, ada) };
            if (path !== route.path) example.path = path;
            const found: Record<string, string | number> = {};
            for (const [who, token] of Object.entries(tokens)) {
              // A sign-up is of a new address each time.
              const { body } = exampleOf(route, ada);
              const request = { ...example, ...(body && { body }) };
              found[who] = await outcomeOf(replicas[door].url, request, token, route.access === 'public');
            }
            expect(found).to.deep.equal(
              Object.fromEntries(Object.keys(tokens).map((who) => [who, expected(route, who)])),
            );
          });

  it('to payments by their order alone is that of the user of the order', async () => {
    const example = { method: 'GET', path: `/payments?orderId=${ada.order}` };
    for (const who of LET_IN)
      expect(await outcomeOf(replicas.payment.url, example, tokens[who]), who).to.equal(
        expected({ access: 'own', method: 'GET' }, who),
      );
  });

  it('to an order in the name of another user is refused to every caller', async () => {
    const example = {
      method: 'POST',
      path: '/orders',
      body: { userId: randomUUID(), productName: 'X', price: 1 },
    };
    for (const who of ['the user', 'the operator'] as const)
      expect(await outcomeOf(replicas.gateway.url, example, tokens[who]), who).to.equal(403);
  });

  it('to documents and probes needs no token', async () => {
    for (const { url, adminUrl } of Object.values(replicas)) {
      expect((await fetch(`${url}/openapi.json`)).status).to.equal(200);
      expect((await fetch(`${adminUrl}/readyz`)).status).to.equal(200);
    }
    expect((await fetch(`${replicas.gateway.url}/docs`)).status).to.equal(200);
  });

  describe('over the broker', () => {
    const methods = services.flatMap(({ broker }) =>
      requestQueues(broker).flatMap(([, queue]) => Object.values(queue.methods)),
    );
    const callers = (): Record<string, { headers: Record<string, unknown>; outcome: Outcome }> => ({
      nobody: { headers: {}, outcome: 401 },
      'the user': { headers: { 'x-warren-subject': ada.user, 'x-warren-roles': [] }, outcome: 'ok' },
      'the operator': {
        headers: { 'x-warren-subject': randomUUID(), 'x-warren-roles': ['operator'] },
        outcome: 'ok',
      },
      'another user': { headers: { 'x-warren-subject': randomUUID(), 'x-warren-roles': [] }, outcome: 403 },
      'a token without a subject': { headers: { 'x-warren-roles': [] }, outcome: 403 },
      'roles that are no list': {
        headers: { 'x-warren-subject': ada.user, 'x-warren-roles': 'operator' },
        outcome: 401,
      },
    });

    for (const method of methods) {
      it(`${method.method} is on behalf of whom the gateway names`, async () => {
        const field = typeof method.access === 'object' ? method.access.owner : 'userId';
        const found: Record<string, unknown> = {};
        for (const [who, { headers }] of Object.entries(callers())) {
          const options = { headers, timeout: 20_000 };
          const body = await system.broker.ask('gateway', method.routingKey, { [field]: ada.user }, options);
          found[who] = 'code' in body ? body.status : 'ok';
        }
        expect(found).to.deep.equal(
          Object.fromEntries(Object.entries(callers()).map(([who, { outcome }]) => [who, outcome])),
        );
      });

      it(`${method.method} is refused to a service that its contract does not name, whomever that names`, async () => {
        const [forger = ''] = everyService.filter(
          (each) => !method.callers.includes(each) && each !== method.service,
        );
        const headers = {
          'x-warren-timeout': 20_000,
          'x-warren-subject': ada.user,
          'x-warren-roles': ['operator'],
        };
        const properties = { messageId: randomUUID(), replyTo: 'gateway.reply.forged', headers };
        const refusal = await system.broker
          .publish('rpc', method.routingKey, { userId: ada.user }, properties, forger)
          .then(
            () => 'published',
            (error: Error) => error.message,
          );
        expect(refusal).to.match(/403|channel closed/i);
      });
    }
  });
});
