// With AUTH=jwt: an issuer on this machine, at which everybody signs up who wants a token.
import { randomBytes } from 'node:crypto';
import type { Issuer } from '../../e2e/issuer/src/issuer.ts';

export interface Tokens {
  url: string;
  /** What every service is told of it. */
  env: Record<string, string>;
  /** Of whoever signs up here, and of the operator. */
  password: string;
  /** `authorization: Bearer …` of an account, by its e-mail address. @throws when the issuer refuses */
  headers(email: string): Promise<Record<string, string>>;
  close(): Promise<void>;
}

export const ISSUER_PORT = 4000;
const AUDIENCE = 'warren';

export async function startTokens(gateway: string): Promise<Tokens> {
  // Installed by `make demo AUTH=jwt` alone.
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
      if (token === undefined) throw new Error(`the issuer gave ${username} no token: ${response.status}`);
      return { authorization: `Bearer ${token}` };
    },
    close: () => issuer.close(),
  };
}
