import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { eventually, query, startProcess, withBroker, withDatabase } from '@warren/testkit';
import { expect } from 'chai';
import { checkout, runNode } from '../../../scripts/copy.ts';
import { pack } from '../../../scripts/pack.ts';

const run = promisify(execFile);
/** A page whose code is an application. */
const GUIDE = join(checkout, 'docs/how-to/use-the-outbox-alone.md');
const BLOCK = /^`(src\/[\w.]+)`[^\n]*\n```ts\n(.*?)^```/gms;
const FIXTURES = join(import.meta.dirname, 'fixtures');

describe('the doors, packed', function () {
  this.timeout(180_000);
  const broker = withBroker({ services: ['thing', 'invoice'] });
  const database = withDatabase();
  let away: string;

  before(async () => {
    away = mkdtempSync(join(tmpdir(), 'warren-doors-'));
    const tarballs = await pack(join(away, 'vendor'));
    const { devDependencies } = JSON.parse(
      readFileSync(join(import.meta.dirname, '../package.json'), 'utf8'),
    ) as { devDependencies: Record<string, string> };
    const taken = ['@types/node', '@types/pg', 'drizzle-orm', 'kysely', 'pg', 'typescript'];
    const dependencies = Object.fromEntries([
      ...taken.map((name) => [name, devDependencies[name]]),
      ...['@warren/chassis', '@warren/events'].map((name) => [name, `file:${tarballs.get(name)}`]),
    ]);
    writeFileSync(join(away, 'package.json'), JSON.stringify({ type: 'module', dependencies }));
    const { compilerOptions } = JSON.parse(readFileSync(join(checkout, 'tsconfig.base.json'), 'utf8'));
    const tsconfig = {
      compilerOptions: { ...compilerOptions, types: ['node'] },
      include: ['*.ts', 'src/*.ts'],
    };
    writeFileSync(join(away, 'tsconfig.json'), JSON.stringify(tsconfig));
    for (const file of ['types.ts', 'things.ts', 'packed-application.ts'])
      cpSync(join(FIXTURES, file), join(away, file));
    mkdirSync(join(away, 'src'));
    for (const [, file, code] of readFileSync(GUIDE, 'utf8').matchAll(BLOCK))
      writeFileSync(join(away, file as string), code as string);
    await run('npm', ['install', '--no-audit', '--no-fund', '--prefer-offline'], { cwd: away });
  });
  after(() => rmSync(away, { recursive: true, force: true }));

  it('have exact types outside the checkout', async () => {
    const { code, output } = await runNode([join(away, 'node_modules/typescript/bin/tsc'), '--noEmit'], away);
    expect([code, output]).to.deep.equal([0, '']);
  });

  it('create tables, emit and publish outside the checkout', async () => {
    const { stdout } = await run(process.execPath, ['packed-application.ts'], {
      cwd: away,
      env: { ...process.env, DATABASE_URL: database.url, AMQP_URL: broker.url('thing') },
    });
    expect(stdout).to.equal('1\nconfirmed\n');
  });

  it('run the application of the guide', async () => {
    const probe = await broker.probe('events', 'invoice.#');
    const env = { DATABASE_URL: await database.another(), AMQP_URL: broker.url('invoice') };
    const application = startProcess({ cwd: away, entry: 'src/main.ts', env });
    await eventually(() => expect(application.output).to.include('started'));
    const invoiceId = crypto.randomUUID();
    await query(
      env.DATABASE_URL,
      'create table invoices (id uuid primary key, amount integer not null, state text not null)',
    );
    await query(env.DATABASE_URL, "insert into invoices values ($1, 120, 'open')", [invoiceId]);

    const script = (file: string) =>
      run(process.execPath, [file, invoiceId], { cwd: away, env: { ...process.env, ...env } });
    await script('src/try.ts');
    const [event] = await probe.waitFor({ type: 'invoice.paid' });
    expect(event?.body.data).to.deep.equal({ invoiceId, amount: 120 });
    await eventually(() => expect(application.output.join('\n')).to.match(/^invoice\.paid confirmed after/m));

    expect(await application.kill('SIGTERM')).to.equal(0);
    await script('src/check.ts');
    await probe.waitFor({ type: 'invoice.paid', count: 2 });
  });

  it('bring the command warren-migrate', async () => {
    const { stdout } = await run('npx', ['--no', '--', 'warren-migrate', '--check', '--url', database.url], {
      cwd: away,
    });
    expect(stdout).to.equal('the database has all migrations\n');
  });
});
