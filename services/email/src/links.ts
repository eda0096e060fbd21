// Links that confirm an address. They are signed, expire, and are not stored. The signature covers the user, the address and the
// time of expiry, so that a link is valid only for the address that it was sent to.
import { createHmac, timingSafeEqual } from 'node:crypto';
import type { Kysely } from '@warren/chassis';
import type { EmailConfig } from './config.ts';
import type { EmailSchema } from './schema.ts';

/** The result of checking a link. */
export type Link =
  /** The signature is invalid, or for another address. */
  | { kind: 'unknown' }
  | { kind: 'open'; userId: string }
  | { kind: 'expired'; userId: string }
  /** The address is confirmed already, whether or not the link has expired. */
  | { kind: 'confirmed'; userId: string };

// A token: user (16 bytes), time of expiry (6 bytes, s), HMAC-SHA256 (32 bytes), in base64url.
const ID_BYTES = 16;
const CLAIM_BYTES = ID_BYTES + 6;
const TOKEN = /^[\w-]{72}$/;
/** Domain separation: no other use of the key can produce a token. */
const PURPOSE = 'warren: confirm an e-mail address\n';

/** @returns the URL of the confirmation page; `undefined` when links are not configured */
export function linkFor(
  { userId, address, expires }: { userId: string; address: string; expires: Date },
  { PUBLIC_URL: base, EMAIL_CONFIRMATION_KEY: [key] = [] }: EmailConfig,
): string | undefined {
  if (base === undefined || key === undefined) return undefined;
  const claim = Buffer.alloc(CLAIM_BYTES);
  claim.write(userId.replaceAll('-', ''), 'hex');
  claim.writeUIntBE(Math.floor(expires.getTime() / 1_000), ID_BYTES, CLAIM_BYTES - ID_BYTES);
  const token = Buffer.concat([claim, sign(key, claim, address)]).toString('base64url');
  return `${base}/emails/confirm?token=${token}`;
}

/** Checks a token from a client. */
export async function readLink(
  database: Kysely<EmailSchema>,
  token: string,
  { EMAIL_CONFIRMATION_KEY: keys = [] }: EmailConfig,
  now: Date,
): Promise<Link> {
  if (!TOKEN.test(token)) return { kind: 'unknown' };
  const bytes = Buffer.from(token, 'base64url');
  const claim = bytes.subarray(0, CLAIM_BYTES);
  const signature = bytes.subarray(CLAIM_BYTES);
  const hex = claim.toString('hex', 0, ID_BYTES);
  const userId = hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
  const user = await database
    .selectFrom('users')
    .select(['email', 'confirmed_at'])
    .where('id', '=', userId)
    .executeTakeFirst();
  if (user === undefined) return { kind: 'unknown' };
  if (!keys.some((key) => timingSafeEqual(sign(key, claim, user.email), signature)))
    return { kind: 'unknown' };
  if (user.confirmed_at !== null) return { kind: 'confirmed', userId };
  const expires = 1_000 * claim.readUIntBE(ID_BYTES, CLAIM_BYTES - ID_BYTES);
  return { kind: now.getTime() < expires ? 'open' : 'expired', userId };
}

const sign = (key: string, claim: Buffer, address: string): Buffer =>
  createHmac('sha256', key).update(PURPOSE).update(claim).update(address).digest();
