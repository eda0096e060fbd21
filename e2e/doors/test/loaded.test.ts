import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect } from 'chai';

const run = promisify(execFile);

/** Packages whose files a process loads when it imports this. */
async function loadedBy(specifier: string): Promise<Set<string>> {
  const code = `
    import { registerHooks } from 'node:module';
    const urls = [];
    registerHooks({ load: (url, context, next) => (urls.push(url), next(url, context)) });
    const { createRequire } = await import('node:module');
    await import(${JSON.stringify(specifier)});
    const required = Object.keys(createRequire(import.meta.url).cache);
    process.stdout.write(JSON.stringify([...urls, ...required]));
    process.exit();`;
  const { stdout } = await run(process.execPath, ['--input-type=module', '--eval', code], {
    cwd: import.meta.dirname,
  });
  const files = JSON.parse(stdout) as string[];
  const names = files.map((file) => /.*\/node_modules\/((@[^/]+\/)?[^/]+)/.exec(file)?.[1]);
  return new Set(names.filter((name) => name !== undefined));
}

/** What only a whole service needs. */
const OF_A_SERVICE = ['koa', '@koa/router', 'koa-helmet', 'pino', 'prom-client', 'jose', 'kysely'];

describe('loading a door', function () {
  this.timeout(30_000);

  for (const door of ['outbox', 'inbox', 'messaging', 'tasks', 'migrations', 'testing'])
    it(`loads nothing of HTTP, logs, metrics, tokens and query builders for /${door}`, async () => {
      const loaded = await loadedBy(`@warren/chassis/${door}`);
      expect(loaded).to.include('pg');
      expect(OF_A_SERVICE.filter((name) => loaded.has(name))).to.deep.equal([]);
    });

  it('loads nothing of a service for the adapter of pg', async () => {
    const loaded = await loadedBy('@warren/chassis/adapters/pg');
    expect(OF_A_SERVICE.filter((name) => loaded.has(name))).to.deep.equal([]);
  });

  for (const name of ['drizzle', 'knex', 'typeorm', 'prisma'])
    it(`loads no package for the adapter of ${name}: it uses the application's`, async () => {
      expect([...(await loadedBy(`@warren/chassis/adapters/${name}`))]).to.deep.equal([]);
    });

  it('sees what a whole service loads', async () => {
    const loaded = await loadedBy('@warren/chassis');
    expect(OF_A_SERVICE.filter((name) => !loaded.has(name))).to.deep.equal([]);
  });

  it('loads these packages for /outbox', async () => {
    // amqplib and rascal publish; generic-pool, lodash and the like are theirs. joi checks events; @opentelemetry/api is only the
    // interface through which an event gets the trace of its transaction.
    const own = ['@opentelemetry/api', 'amqplib', 'joi', 'pg', 'rascal'];
    expect([...(await loadedBy('@warren/chassis/outbox'))]).to.include.members(own);
  });
});
