import { eventually } from '@warren/testkit';
import { expect } from 'chai';
import fc from 'fast-check';
import { everyService, type Name } from '../../support/src/index.ts';
import { type Operation, readOperations } from './support/document.ts';
import { withHouse } from './support/house.ts';
import { type Received, type Sent, send } from './support/http.ts';
import { KNOWN, requestsOf } from './support/requests.ts';
import { target } from './support/target.ts';

target('http', ({ property }) => {
  const house = withHouse();
  const known: Record<string, string> = {};

  before('somebody to ask about', async () => {
    const user = await post('user', '/users', { name: 'Known', email: 'known@example.com' });
    known[KNOWN.user] = user.id;
    const order = await placeOrder(user.id);
    known[KNOWN.order] = order.orderId;
  });

  for (const service of everyService) {
    for (const operation of readOperations(service)) {
      property(
        `${service}: ${operation.method} ${operation.path} answers as documented`,
        60,
        requestsOf(operation),
        async (request) => {
          await house.restore();
          const { throughGateway, verdict } = request;
          const sent = fill(request.value);
          const answer = await ask(throughGateway ? 'gateway' : service, sent);
          assertSound(operation, sent, answer);
          assertVerdict(verdict, answer.status);
        },
      );
    }
  }

  const paths = fc.oneof(
    fc.constantFrom(
      '*',
      '/',
      '//',
      '/users',
      '/users/',
      '/users/save',
      '/orders',
      '/docs',
      '/docs/x',
      '/openapi.json',
      '/livez',
    ),
    fc.webPath(),
    fc.string({ maxLength: 60 }).map((text) => `/${encodeURIComponent(text.toWellFormed())}`),
    fc.constantFrom(
      '/users/%',
      '/users/%2e%2e',
      '/users/..',
      '/%00',
      '/users/%ff',
      '/__proto__',
      '/constructor/x',
      `/${'x'.repeat(9_000)}`,
    ),
    fc.stringMatching(/^\/[\x21-\x7e]{0,40}$/),
  );
  const methods = fc.constantFrom(
    'GET',
    'HEAD',
    'POST',
    'PUT',
    'PATCH',
    'DELETE',
    'OPTIONS',
    'TRACE',
    'PROPFIND',
    'QUERY',
    'PURGE',
  );
  property(
    'any method on any path has an answer below 500, and a problem where it is one',
    400,
    fc.record({ service: fc.constantFrom(...everyService), method: methods, path: paths }),
    async ({ service, method, path }) => {
      await house.restore();
      const answer = await ask(service, { method, path });
      expect(answer.status, 'the status').to.be.within(200, 499);
      if (answer.status >= 400 && method !== 'HEAD') assertProblem(answer);
    },
  );

  house.endsAtSigterm();

  async function ask(service: Name, sent: Sent): Promise<Received> {
    try {
      return (await send(house.of(service).url, sent)) as Received;
    } catch (error) {
      await house.assertAlive();
      throw error;
    }
  }

  async function post(service: Name, path: string, body: object) {
    const answer = await ask(service, {
      method: 'POST',
      path,
      headers: { 'content-type': 'application/json' },
      body: Buffer.from(JSON.stringify(body)),
    });
    return { answered: answer.status, ...JSON.parse(answer.text) };
  }

  /** The order service knows a user a moment after the user service does. */
  async function placeOrder(userId: string) {
    return eventually(async () => {
      const order = await post('order', '/orders', { userId, productName: 'Known', price: 1 });
      expect(order.answered).to.equal(201);
      return order;
    });
  }

  function fill(sent: Sent): Sent {
    const replace = (text: string) =>
      Object.entries(known).reduce((result, [name, id]) => result.replaceAll(name, id), text);
    return {
      ...sent,
      path: replace(sent.path),
      ...(sent.body && { body: Buffer.from(replace(sent.body.toString())) }),
    };
  }
});

function assertSound(operation: Operation, sent: Sent, answer: Received): void {
  expect(answer.status, `the status; ${answer.text.slice(0, 300)}`).to.be.below(500);
  expect(answer.headers['x-correlation-id'], 'x-correlation-id').to.match(/^[\w.:@/+=-]{1,128}$/);
  if (sent.method === 'HEAD') expect(answer.text).to.equal('');
  // A path that was filled with something odd is another one, whose answers are not those of the operation.
  else if (isPlain(sent.path)) operation.assertFits(answer);
  else if (answer.status >= 400) assertProblem(answer);
}

const isPlain = (path: string): boolean => /^(\/[\w.-]+)+$/.test(path.split('?')[0] as string);

function assertVerdict(verdict: 'fits' | 'unfit' | undefined, status: number): void {
  if (verdict === 'unfit' && status < 400)
    throw new Error(`the document forbids it, and the answer is ${status}`);
  if (verdict === 'fits' && [400, 413, 415, 422].includes(status))
    throw new Error(`the document allows it, and the answer is ${status}`);
}

function assertProblem({ status, headers, text }: Received): void {
  expect(headers['content-type'] ?? '', `the type of a ${status}`).to.match(/^application\/problem\+json/);
  expect(JSON.parse(text).status).to.equal(status);
}
