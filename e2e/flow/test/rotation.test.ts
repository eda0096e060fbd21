// The issuer changes its keys while requests come in: no valid token is refused, and none of a withdrawn key accepted.
import { eventually } from '@warren/testkit';
import { expect } from 'chai';
import { bearer, createClient, type Name, type Replica, withSystem } from '../../support/src/index.ts';

const CLIENTS = 6;
const ROTATIONS = 3;

describe('the rotation of keys', function () {
  this.timeout(90_000);
  const system = withSystem({
    services: ['user', 'order', 'gateway'],
    auth: true,
    env: { AUTH_KEYS_REFRESH: '2s' },
  });
  const client = createClient();
  let replicas: Record<Name, Replica>;
  let userId: string;

  before('a user', async () => {
    replicas = await system.runAll({ gateway: { SESSION_URL: 'http://127.0.0.1:9' } });
    const { url } = replicas.gateway;
    const body = { name: 'Ada', email: 'ada@example.com' };
    userId = (await client.send('POST', `${url}/users`, { body })).body.id;
  });
  after(() => client.close());

  const ask = async (door: Name, token: string) => {
    const headers = bearer(token);
    return (await client.send('GET', `${replicas[door].url}/orders?userId=${userId}`, { headers })).status;
  };

  it('refuses no valid request under load, and refuses the old key afterwards', async () => {
    const { issuer } = system;
    const statuses: number[] = [];
    let isOver = false;
    const load = Promise.all(
      Array.from({ length: CLIENTS }, async () => {
        // A new token each time: what is kept of an earlier one does not help.
        while (!isOver) statuses.push(await ask('gateway', await issuer.token({ sub: userId })));
      }),
    );
    const more = async (count: number) => {
      const wanted = statuses.length + count;
      await eventually(() => statuses.length >= wanted, { timeout: 30_000 });
    };

    await more(20);
    const old = await issuer.token({ sub: userId });
    expect(await ask('gateway', old)).to.equal(200);
    for (let rotation = 0; rotation < ROTATIONS; rotation += 1) {
      issuer.rotate();
      await more(20);
      expect(await ask('gateway', old), 'a token of a key that is still published').to.equal(200);
    }
    issuer.retire();
    for (const door of ['gateway', 'order'] as const)
      await eventually(async () => expect(await ask(door, old)).to.equal(401), { timeout: 30_000 });
    for (let attempt = 0; attempt < 10; attempt += 1) {
      await more(5);
      for (const door of ['gateway', 'order'] as const) expect(await ask(door, old)).to.equal(401);
    }
    isOver = true;
    await load;
    expect([...new Set(statuses)]).to.deep.equal([200]);
  });
});
