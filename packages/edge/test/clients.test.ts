import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import { expect } from 'chai';
import fc from 'fast-check';
import { clientOf, parseTrust, shareOf, type TrustProxy } from '../src/clients.ts';

const from = (remoteAddress: string, headers: Record<string, string> = {}, forwarded: string[] = []) =>
  ({
    headers,
    headersDistinct: { ...(forwarded.length > 0 && { forwarded }) },
    socket: { remoteAddress },
  }) as unknown as IncomingMessage;
const trust = (text: string) => parseTrust(text) as TrustProxy;

describe('who the client is', () => {
  const said = { 'x-forwarded-for': '6.6.6.6, 9.9.9.9, 10.0.0.2' };

  it('the address of the socket, with any header, while no proxy is trusted', () => {
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
