// The issuer as a process: PORT, LISTEN_HOST, ISSUER_URL, AUDIENCE, WARREN_URL, OPERATOR_PASSWORD.
import { randomBytes } from 'node:crypto';
import { startIssuer } from './issuer.ts';

const { env } = process;
const operatorPassword = env.OPERATOR_PASSWORD || randomBytes(12).toString('base64url');
const issuer = await startIssuer({
  port: Number(env.PORT || 4000),
  host: env.LISTEN_HOST || '127.0.0.1',
  ...(env.ISSUER_URL && { url: env.ISSUER_URL }),
  audience: env.AUDIENCE || 'warren',
  warren: env.WARREN_URL || 'http://127.0.0.1:3000',
  operatorPassword,
});
console.log(
  `issuer ${issuer.url}, keys at ${issuer.jwksUrl}. For tests and laptops: accounts are in memory.`,
);
if (!env.OPERATOR_PASSWORD) console.log(`the password of 'operator' is ${operatorPassword}`);
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.on(signal, () => void issuer.close().then(() => process.exit(0)));
