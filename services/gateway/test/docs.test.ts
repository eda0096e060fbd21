import { expect } from 'chai';
import { request } from 'undici';
import { closeGateways, openGateway } from './gateway.ts';

describe('the parts of /docs', () => {
  let url: string;
  before(async () => {
    const gateway = await openGateway();
    const html = await (await request(`${gateway.url}/docs`)).body.text();
    url = gateway.url + (/\/docs\/[\d.]+\/swagger-ui-bundle\.js/.exec(html)?.[0] ?? '');
  });
  after(closeGateways);
  const get = (headers: Record<string, string>, method: 'GET' | 'HEAD' = 'GET') =>
    request(url, { method, headers });

  it('are kept for a year by who has them, and revalidated by their ETag', async () => {
    const tags = new Set<string>();
    for (const coding of ['br', 'gzip', 'identity']) {
      const { headers, body } = await get({ 'accept-encoding': coding });
      await body.dump({ limit: 10_000_000 });
      const etag = String(headers.etag);
      expect(headers['cache-control']).to.equal('public, max-age=31536000, immutable');
      expect(headers.vary).to.equal('accept-encoding');
      tags.add(etag);
      for (const named of [etag, `W/${etag}`, `"other", ${etag}`, '*'])
        for (const method of ['GET', 'HEAD'] as const) {
          const again = await get({ 'accept-encoding': coding, 'if-none-match': named }, method);
          expect(again.statusCode, named).to.equal(304);
          expect(again.headers.etag).to.equal(etag);
          expect(await again.body.text()).to.equal('');
        }
      const other = await get({ 'accept-encoding': coding, 'if-none-match': '"other"' });
      expect(other.statusCode).to.equal(200);
      await other.body.dump({ limit: 10_000_000 });
    }
    expect(tags.size).to.equal(3);
  });

  it('answer HEAD with the head of GET', async () => {
    const head = await get({ 'accept-encoding': 'gzip' }, 'HEAD');
    const { headers, body } = await get({ 'accept-encoding': 'gzip' });
    for (const name of ['etag', 'content-length', 'content-encoding', 'content-type'])
      expect(head.headers[name], name).to.equal(headers[name]);
    expect(Number(headers['content-length'])).to.equal((await body.bytes()).length);
  });
});
