import { randomUUID } from 'node:crypto';
import { ConfigError, type Kysely, start } from '@warren/chassis';
import { expect } from 'chai';
import type { EmailConfig } from '../src/config.ts';
import { linkFor, readLink } from '../src/links.ts';
import type { EmailSchema } from '../src/schema.ts';
import { service } from '../src/service.ts';

const [OLD, NEW] = ['o'.repeat(32), 'n'.repeat(32)];
const now = new Date('2026-11-30T12:00:00Z');
const later = (ms: number) => new Date(now.getTime() + ms);

const configOf = (...keys: string[]) =>
  ({ PUBLIC_URL: 'https://shop.example.com', EMAIL_CONFIRMATION_KEY: keys }) as unknown as EmailConfig;

describe('the link of a confirmation', () => {
  const user = { userId: randomUUID(), address: 'ada@example.com', expires: later(60_000) };
  const tokenOf = (given: Partial<typeof user> = {}, config = configOf(OLD)) =>
    new URL(linkFor({ ...user, ...given }, config) as string).searchParams.get('token') as string;

  /** A database that knows one user. */
  const knows = (address = user.address, confirmed: Date | null = null) => {
    const query = {
      select: () => query,
      where: (_column: string, _operator: string, id: string) => ({
        executeTakeFirst: async () =>
          id === user.userId ? { email: address, confirmed_at: confirmed } : undefined,
      }),
    };
    return { selectFrom: () => query } as unknown as Kysely<EmailSchema>;
  };
  const read = async (token: string, { database = knows(), config = configOf(OLD), at = now } = {}) =>
    (await readLink(database, token, config, at)).kind;

  it('has the public URL, and fits on one line', () => {
    const link = linkFor(user, configOf(OLD)) as string;
    expect(link).to.match(/^https:\/\/shop\.example\.com\/emails\/confirm\?token=[\w-]{72}$/);
  });

  it('is valid until its expiry, to the second', async () => {
    expect(await read(tokenOf())).to.equal('open');
    expect(await read(tokenOf(), { at: later(59_999) })).to.equal('open');
    expect(await read(tokenOf(), { at: later(60_000) })).to.equal('expired');
  });

  it('reports a confirmed address, also after its expiry', async () => {
    const database = knows(user.address, now);
    expect(await read(tokenOf(), { database })).to.equal('confirmed');
    expect(await read(tokenOf(), { database, at: later(100_000) })).to.equal('confirmed');
  });

  it('is invalid with any bit changed', async () => {
    const bytes = Buffer.from(tokenOf(), 'base64url');
    for (let bit = 0; bit < 8 * bytes.length; bit += 1) {
      const changed = Buffer.from(bytes);
      changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7));
      expect(await read(changed.toString('base64url')), `bit ${bit}`).to.equal('unknown');
    }
  });

  it('is invalid for another user, another address, another key, or in part', async () => {
    expect(await read(tokenOf({ userId: randomUUID() }))).to.equal('unknown');
    expect(await read(tokenOf(), { database: knows('eve@example.com') })).to.equal('unknown');
    expect(await read(tokenOf(), { config: configOf(NEW) })).to.equal('unknown');
    expect(await read(tokenOf(), { config: configOf() })).to.equal('unknown');
    for (const token of ['', 'x', tokenOf().slice(0, -1), `${tokenOf()}A`, tokenOf().replace(/./, '%')])
      expect(await read(token), token).to.equal('unknown');
  });

  it('is signed by the first key and accepted under both', async () => {
    expect(tokenOf({}, configOf(NEW, OLD))).to.equal(tokenOf({}, configOf(NEW)));
    for (const token of [tokenOf({}, configOf(OLD)), tokenOf({}, configOf(NEW))])
      expect(await read(token, { config: configOf(NEW, OLD) })).to.equal('open');
  });

  it('cannot be made without a key or a public address', () => {
    expect(linkFor(user, {} as EmailConfig)).to.equal(undefined);
  });
});

describe('the configuration of confirmations', () => {
  const given = {
    AMQP_URL: 'amqp://guest:guest@localhost',
    DATABASE_URL: 'postgres://warren@localhost/warren',
  };
  const on = {
    EMAIL_CONFIRMATION: 'on',
    EMAIL_CONFIRMATION_KEY: OLD,
    PUBLIC_URL: 'https://shop.example.com',
  };
  const refusals: [string, Record<string, string | undefined>][] = [
    ['EMAIL_CONFIRMATION_KEY: is required', { ...on, EMAIL_CONFIRMATION_KEY: undefined }],
    ['PUBLIC_URL: is required, e.g. https://shop.example.com', { ...on, PUBLIC_URL: undefined }],
    ['EMAIL_CONFIRMATION: must be one of', { EMAIL_CONFIRMATION: 'true' }],
    ['must be a key of at least 32 bytes', { ...on, EMAIL_CONFIRMATION_KEY: 'hush'.repeat(7) }],
    ['must be a key of at least 32 bytes', { EMAIL_CONFIRMATION_KEY: 'hush' }],
    ['must be a key of at least 32 bytes', { ...on, EMAIL_CONFIRMATION_KEY: `${OLD},hush` }],
    ['must be a key of at least 32 bytes', { ...on, EMAIL_CONFIRMATION_KEY: `${OLD},${NEW},${OLD}` }],
    ['PUBLIC_URL: must be like', { ...on, PUBLIC_URL: 'https://shop.example.com/?x=1' }],
    ['PUBLIC_URL: must be like', { ...on, PUBLIC_URL: 'https://eve@shop.example.com' }],
    ['PUBLIC_URL: must start with http:// or https://', { ...on, PUBLIC_URL: 'shop.example.com' }],
    ['EMAIL_CONFIRMATION_TTL: must be longer than 0', { EMAIL_CONFIRMATION_TTL: '0' }],
    ['EMAILS_PER_HOUR: must be greater than or equal to 1', { EMAILS_PER_HOUR: '0' }],
    ['EMAILS_PER_HOUR: must be less than or equal to 1000', { EMAILS_PER_HOUR: '1001' }],
  ];
  for (const [sentence, env] of refusals)
    it(`is refused at the start: ${sentence} (${Object.values(env).at(-1)})`, async () => {
      const error = await start(service, { ...given, ...env }).catch((reason) => reason);
      expect(error).to.be.instanceOf(ConfigError);
      expect(error.mistakes).to.have.length(1);
      expect(error.mistakes[0]).to.contain(sentence).and.not.match(/hush/);
    });
});
