// With AUTH=jwt: a token issuer on this machine, where users sign up.
import { randomBytes } from 'node:crypto';
import type { Issuer } from '../../e2e/issuer/src/issuer.ts';

export interface Tokens {
  url: string;
  /** Environment variables for every service. */
  env: Record<string, string>;
  /** Password of every account, including the operator. */
  password: string;
  /** The `authorization` header of an account, by e-mail address. @throws when the issuer refuses */
  headers(email: string): Promise<Record<string, string>>;
  close(): Promise<void>;
}

export const ISSUER_PORT = 4000;
const AUDIENCE = 'warren';

export async function startTokens(gateway: string): Promise<Tokens> {
  // Installed only by `make demo AUTH=jwt`.
  const { startIssuer } = await import('../../e2e/issuer/src/issuer.ts');
  const password = randomBytes(9).toString('base64url');
  const issuer: Issuer = await startIssuer({
    port: ISSUER_PORT,
    host: '127.0.0.1',
    url: `http://localhost:${ISSUER_PORT}`,
    audience: AUDIENCE,
    warren: gateway,
    operatorPassword: password,
  });
  const { url, jwksUrl } = issuer;
  return {
    url,
    password,
    env: { AUTH: 'jwt', AUTH_ISSUER: url, AUTH_AUDIENCE: AUDIENCE, AUTH_JWKS_URL: jwksUrl },
    async headers(username) {
      const form = new URLSearchParams({ grant_type: 'password', client_id: 'warren', username, password });
      const response = await fetch(`${url}/token`, { method: 'POST', body: form });
      const { access_token: token } = (await response.json()) as { access_token?: string };
      if (token === undefined)
        throw new Error(`the issuer refused a token for ${username}: ${response.status}`);
      return { authorization: `Bearer ${token}` };
    },
    close: () => issuer.close(),
  };
}
