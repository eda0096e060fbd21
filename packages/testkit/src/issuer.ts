// An issuer of tokens for tests: its keys over HTTP, tokens of any kind, and every way a token can be wrong.
import { createHmac, generateKeyPairSync, type KeyObject, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { exportJWK, type JWTPayload, SignJWT } from 'jose';

export interface TestIssuer {
  issuer: string;
  audience: string;
  jwksUrl: string;
  /** The environment of a service that uses it: AUTH=jwt and the variables that go with it. */
  env: Record<string, string>;
  /** A token for this user, good for an hour; `undefined` claims are left out. */
  token(claims?: JWTPayload & Record<string, unknown>): Promise<string>;
  /** Tokens that no service may accept, by what is wrong with them. */
  invalidTokens(subject: string): Promise<Record<string, string>>;
  /** Signs with a new key from now on. The old one stays published until `retire`. */
  rotate(): void;
  /** Publishes the newest key alone. */
  retire(): void;
  /** Resets every connection from now on, or responds again. The port stays taken, so that no other process gets it meanwhile. */
  leave(): void;
  comeBack(): void;
  /** How often the keys were fetched. */
  fetched: number;
  close(): Promise<void>;
}

interface Key {
  kid: string;
  publicKey: KeyObject;
  privateKey: KeyObject;
}

const HOUR_S = 3_600;

/** @param now of the tokens that it makes */
export async function startIssuer(now: () => Date = () => new Date()): Promise<TestIssuer> {
  const audience = 'warren';
  let keys: Key[] = [newKey()];
  let strange: Key | undefined;
  const newest = () => keys.at(-1) as Key;
  const seconds = () => Math.floor(now().getTime() / 1_000);
  let fetched = 0;
  let isAway = false;
  const server = createServer(async (_request, response) => {
    fetched += 1;
    const published = await Promise.all(keys.map(publish));
    response.setHeader('content-type', 'application/json').end(JSON.stringify({ keys: published }));
  });
  server.on('connection', (socket) => {
    if (isAway) socket.resetAndDestroy();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const issuer = `http://127.0.0.1:${port}`;
  const jwksUrl = `${issuer}/jwks`;
  const close = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });

  const claimsOf = (claims: object): JWTPayload => ({
    iss: issuer,
    aud: audience,
    iat: seconds(),
    exp: seconds() + HOUR_S,
    ...claims,
  });
  const sign = (claims: object, key: Key = newest(), kid = key.kid) =>
    new SignJWT(claimsOf(claims)).setProtectedHeader({ alg: 'RS256', kid, typ: 'JWT' }).sign(key.privateKey);

  return {
    issuer,
    audience,
    jwksUrl,
    env: { AUTH: 'jwt', AUTH_ISSUER: issuer, AUTH_AUDIENCE: audience, AUTH_JWKS_URL: jwksUrl },
    token: (claims = {}) => sign(claims),
    async invalidTokens(sub) {
      const good = await sign({ sub });
      const [header, payload, signature] = good.split('.') as [string, string, string];
      const { kid, publicKey } = newest();
      const claims = encode({ ...claimsOf({ sub }) });
      const unsigned = `${encode({ alg: 'none', kid })}.${claims}.`;
      const shared = `${encode({ alg: 'HS256', kid })}.${claims}`;
      const hmac = createHmac('sha256', publicKey.export({ type: 'spki', format: 'pem' }))
        .update(shared)
        .digest('base64url');
      strange ??= newKey();
      const other = encode({
        ...JSON.parse(Buffer.from(payload, 'base64url').toString()),
        sub: randomUUID(),
      });
      return {
        expired: await sign({ sub, exp: seconds() - 60 }),
        'not yet valid': await sign({ sub, nbf: seconds() + 60 }),
        'without exp': await sign({ sub, exp: undefined }),
        'of the wrong issuer': await sign({ sub, iss: 'https://elsewhere.example' }),
        'for the wrong audience': await sign({ sub, aud: 'another' }),
        'with alg: none': unsigned,
        'HS256 with the public key': `${shared}.${hmac}`,
        'with an unknown key id': await sign({ sub }, strange),
        'with the key id of another key': await sign({ sub }, strange, kid),
        tampered: `${header}.${other}.${signature}`,
        'that is not a token': 'nonsense',
      };
    },
    rotate() {
      keys.push(newKey());
    },
    retire() {
      keys = [newest()];
    },
    leave() {
      isAway = true;
      server.closeAllConnections();
    },
    comeBack() {
      isAway = false;
    },
    get fetched() {
      return fetched;
    },
    close,
  };
}

const newKey = (): Key => ({ kid: randomUUID(), ...generateKeyPairSync('rsa', { modulusLength: 2048 }) });

const publish = async ({ kid, publicKey }: Key) => ({
  ...(await exportJWK(publicKey)),
  kid,
  alg: 'RS256',
  use: 'sig',
});

const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
