// On whose behalf a request over the broker is: the gateway's word counts, where the broker vouches that it is the gateway's.
import { randomUUID } from 'node:crypto';
import { defineMethod, Joi } from '@warren/events';
import { type Recorded, startIssuer, type TestIssuer, withBroker } from '@warren/testkit';
import { expect } from 'chai';
import { own } from '../src/auth/access.ts';
import { defineBroker, defineService, get } from '../src/index.ts';
import { pilgrimBroker, requests, stage } from './fixtures/questions.ts';

const ADA = '00000000-0000-7000-8000-00000000ada0';
const BOB = '00000000-0000-7000-8000-00000000b0b0';

const horoscope = defineMethod<{ userId: string }, { stars: string }>({
  method: 'oracle.horoscope',
  version: 1,
  callers: ['pilgrim', 'almanac'],
  access: { owner: 'userId' },
  request: { userId: Joi.string().required() },
  reply: { stars: Joi.string().required() },
});

const oracle = defineService({
  name: 'oracle',
  version: '1.0.0',
  broker: defineBroker('oracle', {
    vhosts: {
      publish: {},
      consume: {
        subscriptions: { 'oracle.rpc': { methods: { 'oracle.horoscope.v1': horoscope }, ...requests } },
      },
    },
  }),
  methods: { 'oracle.horoscope.v1': async ({ userId }) => ({ stars: `of ${userId}` }) },
});

const pilgrim = defineService({
  name: 'pilgrim',
  version: '1.0.0',
  broker: pilgrimBroker,
  routes: [
    get('/horoscope/:user', { access: own(({ params }) => params.user) }, ({ params }, { request }) =>
      request(horoscope, { userId: params.user }, { timeout: 9_000 }),
    ),
    // Its own rule is wrong: the oracle does not rely on it.
    get('/careless/:user', { access: 'public' }, ({ params }, { request }) =>
      request(horoscope, { userId: params.user }, { timeout: 9_000 }),
    ),
  ],
});

describe('a request over the broker, with AUTH=jwt', () => {
  const broker = withBroker({ services: ['oracle', 'pilgrim', 'almanac'] });
  const { launch, probe, lines } = stage(broker);
  let issuer: TestIssuer;
  let env: Record<string, string>;
  before(async () => {
    issuer = await startIssuer();
    env = { ...issuer.env, AUTH_GATEWAY: 'pilgrim' };
  });
  after(() => issuer.close());

  it('is on behalf of whom the gateway names, and refused where the answer is another’s', async () => {
    await launch(oracle, env);
    const asking = await launch(pilgrim, env);
    const ask = async (path: string, token?: string) => {
      const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
      const forged = { 'x-warren-subject': ADA, 'x-warren-roles': 'operator' };
      return (await fetch(`${asking.url}${path}`, { headers: { ...forged, ...headers } })).status;
    };
    const ada = await issuer.token({ sub: ADA });
    const operator = await issuer.token({ sub: BOB, roles: ['operator'] });
    expect(await ask(`/horoscope/${ADA}`, ada)).to.equal(200);
    expect(await ask(`/horoscope/${ADA}`, operator)).to.equal(200);
    expect(await ask(`/careless/${ADA}`, ada)).to.equal(200);
    expect(await ask(`/careless/${ADA}`, operator)).to.equal(200);
    expect(await ask(`/careless/${BOB}`, ada)).to.equal(403);
    expect(await ask(`/careless/${ADA}`)).to.equal(401);
    expect(await ask(`/careless/${ADA}`, await issuer.token({ sub: undefined }))).to.equal(403);
    const refusal = lines.find(({ msg, action }) => msg === 'audit' && action === 'oracle.horoscope' && true);
    expect(refusal).to.include({ actor: BOB, role: 'operator', outcome: 'done' });
  });

  const behalf = { 'x-warren-subject': ADA, 'x-warren-roles': ['operator'] };
  const replyTo = async (as: string, from: string, headers: object, more: Record<string, string> = {}) => {
    await launch(oracle, { ...env, ...more });
    const replies = await probe('rpc', '*.reply.#');
    await broker.publish(
      'rpc',
      horoscope.routingKey,
      { userId: ADA },
      {
        messageId: randomUUID(),
        replyTo: `${from}.reply.x`,
        contentType: 'application/json',
        headers: { 'x-warren-timeout': 20_000, ...headers },
      },
      as,
    );
    const [reply] = await replies.waitFor(() => true, { timeout: 20_000 });
    return (reply as Recorded).body;
  };

  it('of another service is in that service’s own name, with any headers', async () => {
    expect(await replyTo('almanac', 'almanac', { ...behalf, 'x-warren-subject': BOB })).to.deep.equal({
      stars: `of ${ADA}`,
    });
    expect(lines.filter(({ msg, actor }) => msg === 'audit' && actor === BOB)).to.deep.equal([]);
  });

  it('is refused when the broker does not prove its sender, with any PRODUCER_CHECK', async () => {
    for (const check of ['report', 'off']) {
      const answered = await replyTo('almanac', 'pilgrim', behalf, { PRODUCER_CHECK: check });
      expect(answered).to.include({ status: 401, code: 'token_invalid' });
    }
  });

  it('of the gateway that names nobody is anonymous', async () => {
    expect(await replyTo('pilgrim', 'pilgrim', {})).to.include({ status: 401, code: 'token_missing' });
    expect(await replyTo('pilgrim', 'pilgrim', { 'x-warren-subject': ADA })).to.include({ status: 401 });
  });
});
