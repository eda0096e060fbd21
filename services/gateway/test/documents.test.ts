import { createServer, type Server } from 'node:http';
import { eventually } from '@warren/testkit';
import { expect } from 'chai';
import { request } from 'undici';
import { closeGateways, openGateway } from './gateway.ts';

const documentOf = (title: string, path: string) => ({
  openapi: '3.1.0',
  info: { title, version: '1.0.0' },
  tags: [{ name: title }],
  paths: {
    [path]: { get: { responses: { 200: { description: 'ok' } } } },
    '/orders/stolen': { get: { responses: {} } },
    '/metrics': { get: { responses: {} } },
  },
});

describe('documents', () => {
  const servers: Server[] = [];
  const serving = async (answer: string) => {
    const server = createServer((_request, response) => response.end(answer));
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(server.address() as { port: number }).port}`;
  };
  afterEach(async () => {
    await closeGateways();
    for (const server of servers.splice(0)) server.close().closeAllConnections();
  });

  it('/openapi.json combines the documents of the services, and names unavailable ones', async () => {
    const { url } = await openGateway({
      USER_URL: await serving(JSON.stringify(documentOf('user', '/users/{id}'))),
      SESSION_URL: await serving('no JSON'),
      EMAIL_URL: await serving('{}'),
    });
    const { statusCode, body } = await request(`${url}/openapi.json`);
    expect(statusCode).to.equal(200);
    const document = (await body.json()) as { paths: object; info: { title: string; description: string } };
    expect(Object.keys(document.paths)).to.have.members([
      '/users/{id}',
      '/overview/{userId}',
      '/openapi.json',
    ]);
    expect(document.info.title).to.equal('Warren');
    expect(document.info.description).to.contain('session, order, payment, email');
  });

  it('/openapi.json is cached for a short time', async () => {
    let asked = 0;
    const server = createServer((_request, response) => {
      asked += 1;
      response.end(JSON.stringify(documentOf('user', '/users')));
    });
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { url } = await openGateway({
      USER_URL: `http://127.0.0.1:${(server.address() as { port: number }).port}`,
    });
    await Promise.all(
      Array.from({ length: 20 }, async () => (await request(`${url}/openapi.json`)).body.dump()),
    );
    expect(asked).to.equal(1);
  });

  it('/docs needs no external resource, and the gateway has all its parts', async () => {
    const { url } = await openGateway();
    const page = await request(`${url}/docs`);
    expect(page.headers['content-type']).to.equal('text/html; charset=utf-8');
    const policy = String(page.headers['content-security-policy']);
    expect(policy).to.match(/^default-src 'none'; script-src 'self'; style-src 'self';/);
    expect(policy).not.to.match(/http|unsafe/);
    const html = await page.body.text();
    expect(html).not.to.match(/https?:|<style|<script>/);
    const links = [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, link]) => link);
    expect(links).to.have.length(5);
    for (const link of links) {
      const { statusCode, headers, body } = await request(`${url}${link}`);
      expect(statusCode, link).to.equal(200);
      expect(Number(headers['content-length']), link).to.equal((await body.bytes()).length);
    }
  });

  it('/docs sends its parts compressed to clients that accept it, and serves no other file', async () => {
    const { url, metrics } = await openGateway();
    const html = await (await request(`${url}/docs`)).body.text();
    const [bundle = ''] = /\/docs\/[\d.]+\/swagger-ui-bundle\.js/.exec(html) ?? [];
    const { headers, body } = await request(url + bundle, { headers: { 'accept-encoding': 'gzip' } });
    expect(headers['content-encoding']).to.equal('gzip');
    expect((await body.bytes()).length).to.be.lessThan(800_000);
    const head = await request(url + bundle, { method: 'HEAD' });
    expect(head.statusCode).to.equal(200);
    expect((await request(url + bundle, { method: 'POST' })).statusCode).to.equal(405);
    for (const name of ['package.json', 'toString', 'absolute-path.js'])
      expect((await request(url + bundle.replace('swagger-ui-bundle.js', name))).statusCode).to.equal(404);
    await eventually(async () => {
      const { values } = await metrics.httpRequestDuration.get();
      expect(new Set(values.map(({ labels }) => labels.route))).to.deep.equal(
        new Set(['/docs', 'unmatched']),
      );
    });
  });
});
