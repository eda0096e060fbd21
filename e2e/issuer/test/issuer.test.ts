// From nothing to a request with a token, at the issuer that laptops and the profile prod-like have.
import { eventually } from '@warren/testkit';
import { expect } from 'chai';
import { bearer, createClient, type Replica, withSystem } from '../../support/src/index.ts';
import { type Issuer, startIssuer } from '../src/issuer.ts';

const PASSWORD = 'correct horse';

describe('the issuer for laptops', () => {
  const system = withSystem({ services: ['user', 'order', 'gateway'] });
  const client = createClient();
  let issuer: Issuer;
  let gateway: Replica;
  let order: Replica;

  before('services that believe it', async function () {
    this.timeout(90_000);
    const user = await system.replica('user');
    order = await system.replica('order');
    gateway = await system.replica('gateway', { SESSION_URL: 'http://127.0.0.1:9' });
    issuer = await startIssuer({
      port: 0,
      host: '127.0.0.1',
      audience: 'warren',
      warren: gateway.url,
      operatorPassword: PASSWORD,
    });
    const env = {
      AUTH: 'jwt',
      AUTH_ISSUER: issuer.url,
      AUTH_AUDIENCE: 'warren',
      AUTH_JWKS_URL: issuer.jwksUrl,
    };
    for (const replica of [user, order, gateway]) replica.start(env);
    for (const replica of [user, order, gateway]) await replica.ready();
  });
  after(async () => {
    client.close();
    await issuer?.close();
  });

  const signUp = (email: string, password = PASSWORD) =>
    client.send('POST', `${issuer.url}/sign-up`, { body: { name: 'Ada', email, password } });
  const tokenOf = async (username: string, password = PASSWORD) => {
    const form = new URLSearchParams({ grant_type: 'password', client_id: 'warren', username, password });
    const response = await fetch(`${issuer.url}/token`, { method: 'POST', body: form });
    return { status: response.status, body: (await response.json()) as Record<string, string> };
  };

  it('signs up at Warren, and gives tokens for the id that Warren gave', async () => {
    const { status, body: ada } = await signUp('ada@example.com');
    expect(status).to.equal(201);
    const { body: bob } = await signUp('bob@example.com');
    const { body } = await tokenOf('Ada@example.com');
    const headers = bearer(body.access_token as string);
    const get = async (path: string) =>
      (await client.send('GET', `${gateway.url}${path}`, { headers })).status;
    expect(await get(`/users/${ada.id}`)).to.equal(200);
    expect(await get(`/users/${bob.id}`)).to.equal(403);
    expect(await get('/users')).to.equal(403);
    await eventually(async () => {
      const content = { userId: ada.id, productName: 'Tea', price: 3.5 };
      const placed = await client.send('POST', `${order.url}/orders`, { body: content, headers });
      expect(placed.status).to.equal(201);
    });
  });

  it('has an operator, who lists users', async () => {
    const { body } = await tokenOf('operator');
    const headers = bearer(body.access_token as string);
    expect((await client.send('GET', `${gateway.url}/users`, { headers })).status).to.equal(200);
  });

  it('gives no token for a wrong password, and passes on what Warren refuses', async () => {
    expect(await tokenOf('operator', 'wrong')).to.deep.include({ status: 400 });
    expect((await tokenOf('nobody')).body.error).to.equal('invalid_grant');
    expect((await signUp('no address')).status).to.equal(400);
    await signUp('grace@example.com');
    expect((await signUp('grace@example.com')).status).to.equal(409);
    expect((await signUp('short@example.com', 'short')).status).to.equal(400);
  });
});
