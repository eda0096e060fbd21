// An OpenID provider for tests and laptops: accounts are in memory, and a token is given for a name and a password. Warren's own
// id of the user is the account's, because the account is made by a sign-up at Warren.
import { generateKeyPairSync, randomBytes, randomUUID, scryptSync, timingSafeEqual } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import Provider, { errors } from 'oidc-provider';

export interface IssuerOptions {
  port: number;
  host: string;
  /** `iss` of its tokens. Default: http://HOST:PORT, as it listens. */
  url?: string;
  audience: string;
  /** Where sign-ups go: the gateway. */
  warren: string;
  /** Of the account `operator`, which is not a user of Warren; without one the account does not exist. */
  operatorPassword?: string;
  /** Seconds. */
  tokenTtl?: number;
}

export interface Issuer {
  url: string;
  jwksUrl: string;
  close(): Promise<void>;
}

interface Account {
  id: string;
  salt: Buffer;
  hash: Buffer;
  roles: readonly string[];
}

type Context = Parameters<Parameters<Provider['use']>[0]>[0];

const CLIENT = 'warren';
const RESOURCE = 'urn:warren';
const LARGEST_BODY = 10_000;

export async function startIssuer(options: IssuerOptions): Promise<Issuer> {
  const { port: wanted, host, audience, warren, operatorPassword, tokenTtl = 3_600 } = options;
  const accounts = new Map<string, Account>();
  if (operatorPassword !== undefined)
    accounts.set('operator', accountOf(randomUUID(), operatorPassword, ['operator']));

  // Its name has to be known before it is made, and the port is known when it listens.
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(wanted, host, resolve);
  });
  const { port } = server.address() as AddressInfo;
  const url = options.url ?? `http://${host === '::' ? 'localhost' : host}:${port}`;

  const rolesOf = (id: string | undefined) =>
    [...accounts.values()].find((account) => account.id === id)?.roles ?? [];
  const provider = new Provider(url, {
    jwks: { keys: [signingKey()] },
    adapter: () => NOTHING_KEPT,
    clients: [
      {
        client_id: CLIENT,
        token_endpoint_auth_method: 'none',
        grant_types: ['password'],
        response_types: [],
        redirect_uris: [],
      },
    ],
    features: { devInteractions: { enabled: false } },
    ttl: { AccessToken: tokenTtl },
    cookies: { keys: [randomBytes(32).toString('hex')] },
    extraTokenClaims: async (_, token) => ({
      roles: rolesOf('accountId' in token ? (token.accountId as string) : undefined),
    }),
  });
  provider.registerGrantType(
    'password',
    async (ctx) => {
      const { username, password } = (ctx.oidc.params ?? {}) as Record<string, string | undefined>;
      const account = accounts.get(username?.toLowerCase() ?? '');
      if (account === undefined || !isPasswordOf(account, password ?? ''))
        throw new errors.InvalidGrant('the name or the password is wrong');
      const token = new provider.AccessToken({
        accountId: account.id,
        client: ctx.oidc.client as NonNullable<typeof ctx.oidc.client>,
        gty: 'password',
        scope: '',
        claims: {},
        grantId: randomUUID(),
      } as never);
      token.resourceServer = new provider.ResourceServer(RESOURCE, {
        scope: '',
        audience,
        accessTokenTTL: tokenTtl,
        accessTokenFormat: 'jwt',
        jwt: { sign: { alg: 'RS256' } },
      });
      ctx.body = { access_token: await token.save(), token_type: 'Bearer', expires_in: tokenTtl };
    },
    ['username', 'password'],
  );
  provider.use(async (ctx, next) => {
    if (ctx.path !== '/sign-up' || ctx.method !== 'POST') return next();
    await signUp(ctx, accounts, warren);
  });
  server.on('request', provider.callback());

  return { url, jwksUrl: `${url}/jwks`, close: () => closed(server) };
}

/** Signs up at Warren, and keeps the id that Warren gives. */
async function signUp(ctx: Context, accounts: Map<string, Account>, warren: string): Promise<void> {
  const { name, email, password } = await bodyOf(ctx);
  const { 'x-correlation-id': correlationId } = ctx.headers;
  if (typeof password !== 'string' || password.length < 8)
    return answer(ctx, 400, { error: 'password: a text of 8 characters or more' });
  const response = await fetch(`${warren}/users`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      'idempotency-key': randomUUID(),
      ...(typeof correlationId === 'string' && { 'x-correlation-id': correlationId }),
    },
    body: JSON.stringify({ name, email }),
    signal: AbortSignal.timeout(10_000),
  }).catch((cause) => {
    throw Object.assign(new Error(`Warren does not answer at ${warren}`, { cause }), {
      status: 502,
      expose: true,
    });
  });
  const user = (await response.json()) as { id: string; email: string };
  if (response.status === 201) accounts.set(user.email.toLowerCase(), accountOf(user.id, password, []));
  answer(ctx, response.status, user);
}

function answer(ctx: Context, status: number, body: object): void {
  ctx.status = status;
  ctx.body = body;
}

async function bodyOf(ctx: Context): Promise<Record<string, unknown>> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of ctx.req) {
    bytes += piece.length;
    if (bytes > LARGEST_BODY) ctx.throw(413);
    pieces.push(piece);
  }
  try {
    const body = JSON.parse(Buffer.concat(pieces).toString());
    return typeof body === 'object' && body !== null ? body : {};
  } catch {
    return ctx.throw(400, 'the body is not JSON');
  }
}

function accountOf(id: string, password: string, roles: readonly string[]): Account {
  const salt = randomBytes(16);
  return { id, salt, hash: scryptSync(password, salt, 32), roles };
}

const isPasswordOf = ({ salt, hash }: Account, password: string): boolean =>
  timingSafeEqual(scryptSync(password, salt, 32), hash);

/** Of sessions and tokens: there are no sessions, and tokens are JWTs. */
const NOTHING_KEPT = {
  upsert: async () => {},
  find: async () => undefined,
  findByUserCode: async () => undefined,
  findByUid: async () => undefined,
  consume: async () => {},
  destroy: async () => {},
  revokeByGrantId: async () => {},
};

/** New with each start: tokens from before are not accepted after it. */
function signingKey(): object {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), use: 'sig', alg: 'RS256' };
}

const closed = (server: Server): Promise<void> =>
  new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
