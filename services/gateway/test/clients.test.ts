import { ConfigError } from '@warren/chassis';
import { expect } from 'chai';
import { request } from 'undici';
import { ask, closeGateways, openGateway } from './gateway.ts';
import { openUpstream, type Upstream } from './upstream.ts';

describe('clients at the door', () => {
  let user: Upstream;
  before(async () => {
    user = await openUpstream();
  });
  beforeEach(() => {
    user.heads.length = 0;
  });
  afterEach(closeGateways);
  after(() => user.close());

  it('returns 429 with Retry-After for any request, and sends nothing upstream', async () => {
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

  it('distinguishes clients by X-Forwarded-For only behind a trusted proxy', async () => {
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

  it('distinguishes clients by Forwarded, and forwards their address to the service', async () => {
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

  it('reports an invalid setting', async () => {
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
