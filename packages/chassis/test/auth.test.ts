// Tokens, keys and callers, through the web face of a service and with a clock that the test moves.
import { startIssuer, type TestIssuer } from '@warren/testkit';
import { expect } from 'chai';
import { own } from '../src/auth/access.ts';
import { createAuth } from '../src/auth/auth.ts';
import { rolesOf } from '../src/auth/caller.ts';
import { claimOf } from '../src/auth/verify.ts';
import { type ChassisConfig, loadConfig } from '../src/config.ts';
import { del, get, noContent, type Route } from '../src/http/routes.ts';
import { createLog } from '../src/telemetry/index.ts';
import { closeWebs, openWeb, type Web } from './http-fixture.ts';

const ADA = '00000000-0000-7000-8000-00000000ada0';
const BOB = '00000000-0000-7000-8000-00000000b0b0';
const MINUTE = 60_000;

const routes: Route[] = [
  get('/public', { access: 'public' }, async () => ({})),
  get('/all', { access: 'operator' }, async () => ({})),
  get('/own/:user', { access: own(({ params }) => params.user) }, async () => ({})),
  get('/row/:user', { access: 'own' }, async ({ params }, { authorise }) => {
    authorise(params.user);
    return {};
  }),
  get('/rows', { access: 'own' }, async (_, { authorise }) => {
    authorise([]);
    return { items: [] };
  }),
  del('/row/:user', { access: 'own' }, async ({ params }, { authorise }) => {
    authorise(params.user);
    return noContent();
  }),
  get('/forgotten', { access: 'own' }, async () => ({})),
];

describe('authentication', () => {
  let issuer: TestIssuer;
  let time: number;
  const now = () => new Date(time);

  beforeEach(async () => {
    time = Date.now();
    issuer = await startIssuer(now);
  });
  afterEach(async () => {
    await closeWebs();
    await issuer.close();
  });

  const open = (env: Record<string, string> = {}): Promise<Web> => {
    const config = loadConfig<ChassisConfig>({
      database: false,
      broker: false,
      env: { ...issuer.env, ...env },
    });
    const log = createLog({ service: 'test', version: '1', level: 'silent' });
    return openWeb({ routes, auth: createAuth(config, log, now) });
  };
  const ask = async ({ url }: Web, path: string, token?: string, method = 'GET') => {
    const response = await fetch(`${url}${path}`, {
      method,
      ...(token !== undefined && { headers: { authorization: `Bearer ${token}` } }),
    });
    const text = await response.text();
    const { code } = text === '' ? ({} as { code?: string }) : JSON.parse(text);
    return { status: response.status, code, challenge: response.headers.get('www-authenticate') };
  };
  const statusOf = async (web: Web, path: string, token?: string, method?: string) =>
    (await ask(web, path, token, method)).status;

  it('lets everybody into a public route, and with AUTH=off into all', async () => {
    const web = await open();
    expect(await statusOf(web, '/public')).to.equal(200);
    const off = await open({ AUTH: 'off' });
    for (const path of ['/all', `/own/${ADA}`, `/row/${ADA}`])
      expect(await statusOf(off, path)).to.equal(200);
  });

  it('requires a token as in RFC 6750', async () => {
    const web = await open();
    const missing = await ask(web, '/all');
    expect(missing).to.deep.equal({ status: 401, code: 'token_missing', challenge: 'Bearer realm="warren"' });
    const invalid = await ask(web, '/all', 'x');
    expect(invalid).to.include({ status: 401, code: 'token_invalid' });
    expect(invalid.challenge).to.match(
      /^Bearer realm="warren", error="invalid_token", error_description="[^"]+"$/,
    );
    const denied = await ask(web, '/all', await issuer.token({ sub: ADA }));
    expect(denied).to.include({ status: 403, code: 'forbidden' });
    expect(denied.challenge).to.contain('error="insufficient_scope"');
  });

  it('takes another scheme than Bearer for no token', async () => {
    const { url } = await open();
    const headers = { authorization: 'Basic YTpi' };
    expect((await fetch(`${url}/public`, { headers })).status).to.equal(200);
    expect((await fetch(`${url}/all`, { headers })).status).to.equal(401);
  });

  it('refuses every kind of invalid token, on public routes as well', async () => {
    const web = await open();
    for (const [what, token] of Object.entries(await issuer.invalidTokens(ADA)))
      for (const path of ['/public', `/own/${ADA}`])
        expect(await statusOf(web, path, token), what).to.equal(401);
  });

  it('lets users at what is their own, operators read all, and nobody change what is another’s', async () => {
    const web = await open();
    const ada = await issuer.token({ sub: ADA });
    const operator = await issuer.token({ sub: BOB, roles: ['operator'] });
    const nobody = await issuer.token({ sub: undefined });
    for (const path of [`/own/${ADA}`, `/row/${ADA}`]) {
      expect(await statusOf(web, path, ada)).to.equal(200);
      expect(await statusOf(web, path, operator)).to.equal(200);
      expect(await statusOf(web, path, nobody)).to.equal(403);
      expect(await statusOf(web, path.replace(ADA, BOB), ada)).to.equal(403);
    }
    expect(await statusOf(web, `/row/${ADA}`, operator, 'DELETE')).to.equal(403);
    expect(await statusOf(web, `/row/${BOB}`, operator, 'DELETE')).to.equal(204);
    expect(await statusOf(web, '/all', operator)).to.equal(200);
    expect(await statusOf(web, '/rows', ada)).to.equal(200);
  });

  it('fails a route that does not name the owner, also with AUTH=off', async () => {
    const token = await issuer.token({ sub: ADA });
    for (const AUTH of ['jwt', 'off']) {
      const web = await open({ AUTH });
      expect(await statusOf(web, '/forgotten', token)).to.equal(500);
      expect(web.lines.find(({ err }) => err?.message.includes('must call authorise(owner)'))).not.to.equal(
        undefined,
      );
    }
  });

  it('writes what was done to whose data, and what was refused', async () => {
    const web = await open();
    const ada = await issuer.token({ sub: ADA, email: 'ada@example.com' });
    const operator = await issuer.token({ sub: BOB, roles: ['operator'] });
    await ask(web, `/row/${ADA}`, ada);
    await ask(web, `/row/${ADA}`, ada, 'DELETE');
    await ask(web, `/own/${BOB}`, ada);
    await ask(web, `/own/${ADA}`, operator);
    const audits = web.lines
      .filter(({ msg }) => msg === 'audit')
      .map(({ actor, role, action, owners, outcome }) => ({ actor, role, action, owners, outcome }));
    expect(audits).to.deep.equal([
      { actor: ADA, role: 'user', action: 'DELETE /row/:user', owners: [ADA], outcome: 'done' },
      { actor: ADA, role: 'user', action: 'GET /own/:user', owners: [BOB], outcome: 'refused' },
      { actor: BOB, role: 'operator', action: 'GET /own/:user', owners: [ADA], outcome: 'done' },
    ]);
  });

  describe('a kept result', () => {
    it('ends with its token', async () => {
      const web = await open();
      const token = await issuer.token({ sub: ADA, exp: Math.floor(time / 1_000) + 60 });
      expect(await statusOf(web, `/own/${ADA}`, token)).to.equal(200);
      time += 64_000;
      expect(await statusOf(web, `/own/${ADA}`, token)).to.equal(200);
      time += 2_000;
      expect(await statusOf(web, `/own/${ADA}`, token)).to.equal(401);
    });

    it('ends with its key: at the latest AUTH_KEYS_REFRESH after the issuer has withdrawn it', async () => {
      const web = await open();
      const token = await issuer.token({ sub: ADA });
      expect(await statusOf(web, `/own/${ADA}`, token)).to.equal(200);
      issuer.rotate();
      issuer.retire();
      time += 5 * MINUTE;
      expect(await statusOf(web, `/own/${ADA}`, token)).to.equal(401);
      expect(await statusOf(web, `/own/${ADA}`, await issuer.token({ sub: ADA }))).to.equal(200);
    });
  });

  describe('the keys', () => {
    it('are fetched again for a key that is not among them, and for an invented one only now and then', async () => {
      const web = await open();
      expect(await statusOf(web, `/own/${ADA}`, await issuer.token({ sub: ADA }))).to.equal(200);
      issuer.rotate();
      const tokens = await Promise.all(Array.from({ length: 20 }, () => issuer.token({ sub: ADA })));
      expect(await Promise.all(tokens.map((token) => statusOf(web, `/own/${ADA}`, token)))).to.deep.equal(
        Array(20).fill(200),
      );
      const { fetched } = issuer;
      for (let attempt = 0; attempt < 5; attempt += 1) {
        const { 'with an unknown key id': token = '' } = await issuer.invalidTokens(ADA);
        expect(await statusOf(web, '/public', token)).to.equal(401);
      }
      expect(issuer.fetched).to.equal(fetched + 1);
    });

    it('go on while the issuer is unavailable', async () => {
      const web = await open();
      const token = await issuer.token({ sub: ADA });
      expect(await statusOf(web, `/own/${ADA}`, token)).to.equal(200);
      issuer.leave();
      for (let minute = 0; minute < 10; minute += 1) {
        time += MINUTE;
        expect(await statusOf(web, `/own/${ADA}`, token)).to.equal(200);
        expect(await statusOf(web, `/own/${ADA}`, await issuer.token({ sub: ADA }))).to.equal(200);
      }
      issuer.rotate();
      const unknown = await issuer.token({ sub: ADA });
      expect(await ask(web, `/own/${ADA}`, unknown)).to.include({ status: 503, code: 'keys_unavailable' });
      issuer.comeBack();
      time += MINUTE;
      expect(await statusOf(web, `/own/${ADA}`, unknown)).to.equal(200);
    });

    it('are missing at a start without an issuer: 503, until it is available', async () => {
      issuer.leave();
      const web = await open();
      const token = await issuer.token({ sub: ADA });
      expect(await ask(web, `/own/${ADA}`, token)).to.include({ status: 503, code: 'keys_unavailable' });
      expect(await statusOf(web, `/own/${ADA}`)).to.equal(401);
      expect(await statusOf(web, '/public')).to.equal(200);
      issuer.comeBack();
      time += 10_000;
      expect(await statusOf(web, `/own/${ADA}`, token)).to.equal(200);
    });
  });
});

describe('the claims of a token', () => {
  it('are found by name, or by a path with dots', () => {
    expect(claimOf({ 'https://warren/roles': ['a'] }, 'https://warren/roles')).to.deep.equal(['a']);
    expect(claimOf({ realm_access: { roles: ['a'] } }, 'realm_access.roles')).to.deep.equal(['a']);
    expect(claimOf({ sub: 'x' }, 'sub.length')).to.equal(undefined);
    expect(claimOf({}, 'constructor.name')).to.equal(undefined);
  });

  it('give roles as a list, or as words', () => {
    expect(rolesOf(['operator', 1, ''])).to.deep.equal(['operator']);
    expect(rolesOf('reader operator')).to.deep.equal(['reader', 'operator']);
    expect(rolesOf({ operator: true })).to.deep.equal([]);
  });
});

describe('the settings of authentication', () => {
  const mistakes = (env: Record<string, string>) => {
    try {
      loadConfig({ database: false, broker: false, env });
      return [];
    } catch (error) {
      return (error as { mistakes: string[] }).mistakes;
    }
  };

  it('are needed with AUTH=jwt, and none is without', () => {
    expect(mistakes({})).to.deep.equal([]);
    expect(mistakes({ AUTH: 'jwt' })).to.deep.equal([
      'AUTH_ISSUER: is required, e.g. https://id.example.com/realms/warren',
      'AUTH_AUDIENCE: is required, e.g. warren',
      'AUTH_JWKS_URL: is required, e.g. https://id.example.com/realms/warren/protocol/openid-connect/certs',
    ]);
  });

  it('do not leave a service open by accident', () => {
    const env = { AUTH_ISSUER: 'https://id.example.com' };
    expect(mistakes(env)).to.deep.equal([
      'AUTH: is not set, but AUTH_ISSUER is; set AUTH=jwt, or AUTH=off to accept every request',
    ]);
    expect(mistakes({ ...env, AUTH: 'off' })).to.deep.equal([]);
  });
});
