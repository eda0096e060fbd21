import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import { ConfigError } from '@warren/chassis';
import { expect } from 'chai';
import fc from 'fast-check';
import { request } from 'undici';
import { clientOf, parseTrust, shareOf, type TrustProxy } from '../src/clients.ts';
import { CLIENTS, createLimiter, parseRate, type Rate } from '../src/limits.ts';
import { ask, closeGateways, openGateway } from './gateway.ts';
import { openUpstream, type Upstream } from './upstream.ts';

const from = (remoteAddress: string, headers: Record<string, string> = {}, forwarded: string[] = []) =>
  ({
    headers,
    headersDistinct: { ...(forwarded.length > 0 && { forwarded }) },
    socket: { remoteAddress },
  }) as unknown as IncomingMessage;
const trust = (text: string) => parseTrust(text) as TrustProxy;

describe('who the client is', () => {
  const said = { 'x-forwarded-for': '6.6.6.6, 9.9.9.9, 10.0.0.2' };

  it('the address of the socket, whatever it says, while no proxy is trusted', () => {
    expect(clientOf(from('::ffff:10.0.0.1', said), trust('off'))).to.deep.include({
      address: '10.0.0.1',
      chain: ['10.0.0.1'],
    });
  });

  it('the one before as many proxies as there are', () => {
    expect(clientOf(from('10.0.0.1', said), trust('1')).address).to.equal('10.0.0.2');
    expect(clientOf(from('10.0.0.1', said), trust('2'))).to.deep.include({
      address: '9.9.9.9',
      chain: ['9.9.9.9', '10.0.0.2', '10.0.0.1'],
    });
    expect(clientOf(from('10.0.0.1'), trust('2')).address).to.equal('10.0.0.1');
  });

  it('the first from our end that is not in the trusted networks', () => {
    expect(clientOf(from('::ffff:10.0.0.1', said), trust('10.0.0.0/8')).address).to.equal('9.9.9.9');
    expect(clientOf(from('fd00::1', said), trust('fd00::/8, 10.0.0.2')).address).to.equal('9.9.9.9');
    expect(clientOf(from('8.8.8.8', said), trust('10.0.0.0/8')).address).to.equal('8.8.8.8');
  });

  it('nobody behind an entry that is no address', () => {
    const entry = { 'x-forwarded-for': '9.9.9.9, unknown, 10.0.0.2' };
    expect(clientOf(from('10.0.0.1', entry), trust('5')).address).to.equal('10.0.0.2');
  });

  it('takes host and scheme from a trusted proxy alone, and only sane ones', () => {
    const forwarded = { host: 'inner', 'x-forwarded-host': 'shop.example', 'x-forwarded-proto': 'https' };
    expect(clientOf(from('10.0.0.1', forwarded), trust('1'))).to.include({
      host: 'shop.example',
      proto: 'https',
    });
    expect(clientOf(from('10.0.0.1', forwarded), trust('off'))).to.include({ host: 'inner', proto: 'http' });
    const insane = { host: 'inner', 'x-forwarded-host': 'a/b', 'x-forwarded-proto': 'gopher' };
    expect(clientOf(from('10.0.0.1', insane), trust('1'))).to.include({ host: 'inner', proto: 'http' });
  });

  for (const [entry, address] of Object.entries({
    '203.0.113.9:51001': '203.0.113.9',
    '[2001:db8::1]:443': '2001:db8::1',
    '[2001:db8::1]': '2001:db8::1',
    '2001:db8::1': '2001:db8::1',
    '[::ffff:203.0.113.9]:443': '203.0.113.9',
    '203.0.113.9:_hidden': '203.0.113.9',
  }))
    it(`X-Forwarded-For: ${entry} is ${address}`, () => {
      const client = clientOf(from('10.0.0.1', { 'x-forwarded-for': `6.6.6.6, ${entry}` }), trust('1'));
      expect(client).to.deep.include({ address, chain: [address, '10.0.0.1'] });
    });

  for (const entry of [
    'unknown',
    '_hidden',
    '',
    '203.0.113.9:',
    '203.0.113.9:123456',
    '203.0.113.9:x',
    '203.0.113.999',
    '[203.0.113.9]:80',
    '[2001:db8::1',
    '2001:db8::1]:443',
    '[2001:db8::1]443',
    'fe80::1%eth0',
    '"203.0.113.9"',
    'shop.example',
  ])
    it(`X-Forwarded-For: ${JSON.stringify(entry)} names nobody: the client counts as the proxy`, () => {
      const client = clientOf(from('10.0.0.1', { 'x-forwarded-for': `6.6.6.6, ${entry}` }), trust('2'));
      expect(client).to.deep.include({ address: '10.0.0.1', chain: ['10.0.0.1'] });
    });

  describe('by Forwarded (RFC 7239), with PROXY_HEADER=forwarded', () => {
    const read = (trusted: string, ...lines: string[]) =>
      clientOf(from('10.0.0.1', { host: 'inner' }, lines), trust(trusted), 'forwarded');

    for (const [line, address] of Object.entries({
      'for=192.0.2.43': '192.0.2.43',
      'For="192.0.2.43:47011"': '192.0.2.43',
      'for="[2001:db8:cafe::17]:4711"': '2001:db8:cafe::17',
      'for="[2001:db8:cafe::17]"': '2001:db8:cafe::17',
      'for="192.0.2.43:_port"': '192.0.2.43',
      'by=203.0.113.43;for=192.0.2.43;proto=https': '192.0.2.43',
      'for=192.0.2.43;by="a;b, c=\\"d"': '192.0.2.43',
      ' ; for=192.0.2.43 ;; proto=http ,': '192.0.2.43',
      'for="192.\\0.2.43"': '192.0.2.43',
      'for=192.0.2.43;host=': '10.0.0.1',
      'for=unknown': '10.0.0.1',
      'for=_SEVKISEK': '10.0.0.1',
      'for="_gazonk:4711"': '10.0.0.1',
      'proto=https': '10.0.0.1',
      'for=192.0.2.43;for=192.0.2.44': '10.0.0.1',
      'for=192.0.2.43 for=192.0.2.44': '10.0.0.1',
      'for=[2001:db8::1]': '10.0.0.1',
      'for="192.0.2.43': '10.0.0.1',
      'for = 192.0.2.43': '10.0.0.1',
      '192.0.2.43': '10.0.0.1',
      '': '10.0.0.1',
    }))
      it(`${JSON.stringify(line)} is of ${address}`, () => expect(read('1', line).address).to.equal(address));

    it('goes through elements and lines from the end', () => {
      const lines = [
        'for=6.6.6.6, for=9.9.9.9;proto=https;host=shop.example',
        'for="10.0.0.2:80";proto=http',
      ];
      expect(read('1', ...lines)).to.deep.include({ chain: ['10.0.0.2', '10.0.0.1'], proto: 'http' });
      expect(read('2', ...lines)).to.deep.equal({
        address: '9.9.9.9',
        chain: ['9.9.9.9', '10.0.0.2', '10.0.0.1'],
        proto: 'https',
        host: 'shop.example',
      });
      expect(read('10.0.0.0/8', ...lines).address).to.equal('9.9.9.9');
      expect(read('off', ...lines)).to.deep.include({ chain: ['10.0.0.1'], proto: 'http', host: 'inner' });
    });

    it('a malformed line of the client does not hide what the proxy wrote behind it', () => {
      expect(read('1', 'for="x', 'for=9.9.9.9').address).to.equal('9.9.9.9');
      expect(read('5', 'for="x', 'for=9.9.9.9').chain).to.deep.equal(['9.9.9.9', '10.0.0.1']);
    });

    it('ignores X-Forwarded-For, -Proto and -Host, and Forwarded is ignored without it', () => {
      const headers = {
        host: 'inner',
        'x-forwarded-for': '6.6.6.6',
        'x-forwarded-proto': 'https',
        'x-forwarded-host': 'evil.example',
      };
      const both = from('10.0.0.1', headers, ['for=9.9.9.9;host=shop.example']);
      expect(clientOf(both, trust('1'), 'forwarded')).to.deep.include({
        address: '9.9.9.9',
        proto: 'http',
        host: 'shop.example',
      });
      expect(clientOf(both, trust('1'), 'x-forwarded-for')).to.deep.include({
        address: '6.6.6.6',
        proto: 'https',
        host: 'evil.example',
      });
      expect(clientOf(from('10.0.0.1', headers), trust('1'), 'forwarded').address).to.equal('10.0.0.1');
    });

    it('reads any text in a time that grows with its length', () => {
      fc.assert(
        fc.property(fc.string({ unit: fc.constantFrom(...'for=";,\\ 1.[]:_'), maxLength: 60 }), (text) => {
          const { address } = read('1', text);
          expect(isIP(address)).to.be.greaterThan(0);
        }),
        { numRuns: 2_000 },
      );
      for (const text of ['for="', ';', ',', 'a=b;', ' ', '\\', 'a="\\', 'for=1.1.1.1,'])
        expect(isIP(read('1', text.repeat(16_000 / text.length)).address)).to.be.greaterThan(0);
    });
  });

  for (const [address, share] of Object.entries({
    '1.2.3.4': '1.2.3.4',
    '2001:db8:1:2:3:4:5:6': '2001:db8:1:2::/64',
    '2001:DB8:1:2::9': '2001:db8:1:2::/64',
    '2001:db8::9': '2001:db8:0:0::/64',
    '::1': '0:0:0:0::/64',
    'fe80::1%eth0': 'fe80:0:0:0::/64',
    '1::2:3:4:5:6': '1:0:0:2::/64',
  }))
    it(`${address} shares as ${share}`, () => expect(shareOf(address)).to.equal(share));

  for (const text of ['x', '11', '-1', '1.2.3', '10.0.0.0/33', '::1/129', '10.0.0.0/8,', '10.0.0.0/'])
    it(`refuses TRUST_PROXY=${text}`, () => expect(parseTrust(text)).to.equal(undefined));
});

describe('the rate limit', () => {
  let now = 0;
  const limiter = (text: string) => {
    now = 0;
    return createLimiter(parseRate(text) as Rate, () => now);
  };

  it('grants so many at once, then tells how long to wait, and grants evenly', () => {
    const { take } = limiter('3/1s');
    expect([take('a'), take('a'), take('a'), take('a')]).to.deep.equal([0, 0, 0, 334]);
    now = 334;
    expect([take('a'), take('a')]).to.deep.equal([0, 333]);
    now = 60_000;
    expect([take('a'), take('a'), take('a'), take('a')]).to.deep.equal([0, 0, 0, 334]);
  });

  it('is each client’s own', () => {
    const { take } = limiter('1/1m');
    expect([take('a'), take('b'), take('a')]).to.deep.equal([0, 0, 60_000]);
  });

  it('remembers so many clients and no more: those that asked last', () => {
    const { take } = limiter('1/1h');
    take('first');
    take('busy');
    for (let one = 0; one < CLIENTS - 1; one += 1) {
      take(`client ${one}`);
      if (one % 1_000 === 0) take('busy');
    }
    expect(take('busy')).to.be.greaterThan(0);
    expect(take('first')).to.equal(0);
  });

  it('can be off', () => {
    const { take } = limiter('off');
    expect(Array.from({ length: 1_000 }, () => take('a')).every((wait) => wait === 0)).to.equal(true);
  });

  for (const text of ['', 'x', '0/1s', '1/0s', '-1/1s', '1/1x', '1', '1/s1', '1.5/1s'])
    it(`refuses RATE_LIMIT=${text}`, () => expect(parseRate(text)).to.equal(undefined));

  describe('at the door', () => {
    let user: Upstream;
    before(async () => {
      user = await openUpstream();
    });
    beforeEach(() => {
      user.heads.length = 0;
    });
    afterEach(closeGateways);
    after(() => user.close());

    it('answers 429 with Retry-After, whatever is asked for, and asks nobody', async () => {
      const { url } = await openGateway({ USER_URL: user.url, RATE_LIMIT: '2/1m' });
      for (const _ of [1, 2]) expect((await request(`${url}/users`)).statusCode).to.equal(200);
      for (const path of ['/users', '/docs', '/openapi.json', '/overview/x', '/%2e']) {
        const { statusCode, headers, body } = await request(url + path);
        expect(statusCode).to.equal(429);
        expect(Number(headers['retry-after'])).to.be.within(25, 31);
        expect(await body.json()).to.include({ status: 429, code: 'rate_limited' });
      }
      expect(user.heads).to.have.length(2);
    });

    it('tells clients apart by X-Forwarded-For behind a trusted proxy only', async () => {
      const asking = async (port: number, client: string) =>
        (
          await ask(
            port,
            `GET /users HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-forwarded-for: ${client}\r\n\r\n`,
          )
        ).slice(9, 12);
      const trusting = await openGateway({
        USER_URL: user.url,
        RATE_LIMIT: '1/1m',
        TRUST_PROXY: '127.0.0.0/8,::1',
      });
      expect(await asking(trusting.port, '1.1.1.1')).to.equal('200');
      expect(await asking(trusting.port, '1.1.1.2')).to.equal('200');
      expect(await asking(trusting.port, '7.7.7.7, 1.1.1.1')).to.equal('429');
      expect(await asking(trusting.port, '2001:db8::1')).to.equal('200');
      expect(await asking(trusting.port, '2001:db8::2')).to.equal('429');
      expect(user.heads[0]).to.match(/^x-forwarded-for: 1\.1\.1\.1, 127\.0\.0\.1$/im);
      const wary = await openGateway({ USER_URL: user.url, RATE_LIMIT: '1/1m' });
      expect(await asking(wary.port, '1.1.1.1')).to.equal('200');
      expect(await asking(wary.port, '1.1.1.2')).to.equal('429');
    });

    it('tells clients apart by ports and by Forwarded, and the service gets their address', async () => {
      const settings = { USER_URL: user.url, RATE_LIMIT: '1/1m', TRUST_PROXY: '1' };
      const asking = async (port: number, header: string) =>
        (await ask(port, `GET /users HTTP/1.1\r\nhost: x\r\nconnection: close\r\n${header}\r\n\r\n`)).slice(
          9,
          12,
        );
      const azure = await openGateway(settings);
      for (const [at, entry] of ['203.0.113.9:51001', '203.0.113.10:51002', '[2001:db8::1]:443'].entries()) {
        expect(await asking(azure.port, `x-forwarded-for: ${entry}`)).to.equal('200');
        const said = ['203.0.113.9', '203.0.113.10', '2001:db8::1'][at];
        expect(user.heads.at(-1)).to.match(new RegExp(`^x-forwarded-for: ${said}, 127.0.0.1$`, 'im'));
      }
      expect(await asking(azure.port, 'x-forwarded-for: 203.0.113.9:51009')).to.equal('429');
      const standard = await openGateway({ ...settings, PROXY_HEADER: 'forwarded' });
      const line = 'forwarded: for="[2001:db8::1]:443";proto=https;host="shop.example"';
      expect(await asking(standard.port, `${line}\r\nx-forwarded-for: 6.6.6.6`)).to.equal('200');
      const head = user.heads.at(-1);
      expect(head).to.match(/^x-forwarded-for: 2001:db8::1, 127\.0\.0\.1$/im);
      expect(head).to.match(/^x-forwarded-proto: https$/im);
      expect(head).to.match(/^x-forwarded-host: shop\.example$/im);
      expect(head).not.to.match(/^forwarded:|6\.6\.6\.6/im);
      expect(await asking(standard.port, `${line}\r\nx-forwarded-for: 6.6.6.7`)).to.equal('429');
      expect(await asking(standard.port, 'forwarded: for=203.0.113.9')).to.equal('200');
    });

    it('says what is wrong with a setting', async () => {
      const env = {
        PROXY_HEADER: 'x-real-ip',
        RATE_LIMIT: 'fast',
        TRUST_PROXY: 'all',
        USER_URL: 'http://user/path',
        UPSTREAM_TIMEOUT: '0s',
      };
      const error = await openGateway(env).catch((thrown: ConfigError) => thrown);
      expect(error).to.be.instanceOf(ConfigError);
      const { mistakes } = error as ConfigError;
      expect(mistakes.map((line) => line.split(':')[0])).to.have.members(Object.keys(env));
      const memory = await openGateway({ BODY_MEMORY: '399kb' }).catch((thrown: ConfigError) => thrown);
      expect((memory as ConfigError).message).to.contain('BODY_MEMORY: must be at least 4 times BODY_BUFFER');
    });
  });
});
