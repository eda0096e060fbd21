// The gateway verifies what it is shown, and passes it on as it came.
import { startIssuer, type TestIssuer } from '@warren/testkit';
import { expect } from 'chai';
import { request } from 'undici';
import { closeGateways, openGateway } from './gateway.ts';
import { openUpstream, type Upstream } from './upstream.ts';

const ADA = '00000000-0000-7000-8000-00000000ada0';

describe('tokens at the gateway', () => {
  let issuer: TestIssuer;
  let orders: Upstream;
  let url: string;
  before(async () => {
    issuer = await startIssuer();
    orders = await openUpstream();
    ({ url } = await openGateway({ ...issuer.env, ORDER_URL: orders.url }));
  });
  after(async () => {
    await closeGateways();
    await orders.close();
    await issuer.close();
  });
  const ask = async (path: string, headers: Record<string, string> = {}) => {
    const { statusCode, body, headers: got } = await request(`${url}${path}`, { headers });
    await body.dump();
    return { status: statusCode, challenge: got['www-authenticate'] };
  };

  it('are forwarded unchanged, but headers reserved for the broker are not', async () => {
    const authorization = `Bearer ${await issuer.token({ sub: ADA })}`;
    const forged = { 'x-warren-subject': ADA, 'x-warren-roles': 'operator' };
    expect(await ask('/orders/1', { authorization, ...forged })).to.include({ status: 200 });
    expect(orders.heads.at(-1)).to.contain(authorization);
    expect(orders.heads.at(-1)).not.to.match(/x-warren/i);
  });

  it('are refused when they are invalid', async () => {
    const { length } = orders.heads;
    for (const [what, token] of Object.entries(await issuer.invalidTokens(ADA))) {
      const { status, challenge } = await ask('/orders/1', { authorization: `Bearer ${token}` });
      expect(status, what).to.equal(401);
      expect(challenge, what).to.contain('error="invalid_token"');
    }
    expect(orders.heads).to.have.length(length);
  });

  it('are required by the services: the gateway forwards requests without one', async () => {
    const { length } = orders.heads;
    expect(await ask('/orders/1')).to.include({ status: 200 });
    expect(orders.heads).to.have.length(length + 1);
  });

  it('are neither required nor checked for the documents', async () => {
    for (const path of ['/docs', '/openapi.json']) {
      expect(await ask(path)).to.include({ status: 200 });
    }
    expect(await ask('/docs', { authorization: 'Bearer nonsense' })).to.include({ status: 200 });
  });

  it('are required for an overview, and must belong to its user', async () => {
    expect(await ask(`/overview/${ADA}`)).to.include({ status: 401 });
    const bob = await issuer.token({ sub: ADA.replace('ada0', 'b0b0') });
    expect(await ask(`/overview/${ADA}`, { authorization: `Bearer ${bob}` })).to.include({ status: 403 });
  });
});

describe('the description of the API', () => {
  afterEach(closeGateways);

  it('states when authentication is off', async () => {
    const { url } = await openGateway();
    const { body } = await request(`${url}/openapi.json`);
    const { info } = (await body.json()) as { info: { description: string } };
    expect(info.description).to.contain('Authentication is off (AUTH=off)');
  });
});
