// Tokens for those who send requests: of the user in whose name an order is placed, of an operator for what is read.
import { randomUUID } from 'node:crypto';
import type { TestIssuer } from '@warren/testkit';

/** The headers that a request needs besides its own. */
export type Authorize = (method: string, body?: object) => Promise<Record<string, string>>;

/** Without authentication. */
export const noTokens: Authorize = async () => ({});

export const bearer = (token: string): Record<string, string> => ({ authorization: `Bearer ${token}` });

/** A sign-up needs no token. To end a session, send the header of its user. */
export function tokensOf(issuer: () => TestIssuer): Authorize {
  const made = new Map<string, Promise<string>>();
  const tokenOf = (sub: string, roles: string[]) => {
    const token = made.get(sub) ?? issuer().token({ sub, roles });
    made.set(sub, token);
    return token;
  };
  const operator = randomUUID();
  return async (method, body) => {
    const { userId } = { ...body } as { userId?: string };
    if (userId !== undefined) return bearer(await tokenOf(userId, []));
    return method === 'POST' ? {} : bearer(await tokenOf(operator, ['operator']));
  };
}
