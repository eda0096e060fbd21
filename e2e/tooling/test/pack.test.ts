import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { freePorts, startProcess, withBroker, withDatabase } from '@warren/testkit';
import { expect } from 'chai';
import { checkout, runNode } from '../../../scripts/copy.ts';
import { pack } from '../../../scripts/pack.ts';

const run = promisify(execFile);

describe('the packages, packed', function () {
  this.timeout(180_000);
  const broker = withBroker({ services: ['user'] });
  const database = withDatabase();
  let away: string;

  // The day a service leaves for a repository of its own: its directory, and two tarballs.
  before(async () => {
    away = mkdtempSync(join(tmpdir(), 'warren-away-'));
    cpSync(join(checkout, 'services/user'), away, {
      recursive: true,
      filter: (source) => !['node_modules', 'package-lock.json'].includes(basename(source)),
    });
    // By its command, as the docs say.
    const script = join(checkout, 'scripts/pack.ts');
    const { stdout } = await run(process.execPath, [script, join(away, 'vendor')]);
    const tarballOf = (name: string) => stdout.split('\n').find((path) => path.includes(`/warren-${name}-`));

    const manifest = JSON.parse(readFileSync(join(away, 'package.json'), 'utf8'));
    for (const name of ['events', 'contracts', 'chassis', 'edge'])
      manifest.dependencies[`@warren/${name}`] = `file:${tarballOf(name)}`;
    delete manifest.devDependencies['@warren/testkit'];
    writeFileSync(join(away, 'package.json'), JSON.stringify(manifest));

    const base = JSON.parse(readFileSync(join(checkout, 'tsconfig.base.json'), 'utf8'));
    writeFileSync(join(away, 'tsconfig.json'), JSON.stringify({ ...base, include: ['src'] }));
    await run('npm', ['install', '--no-audit', '--no-fund', '--prefer-offline'], { cwd: away });
  });
  after(() => rmSync(away, { recursive: true, force: true }));

  it('hold compiled JavaScript and no sources', () => {
    for (const name of ['events', 'contracts', 'chassis', 'edge']) {
      const { exports, dependencies, scripts } = JSON.parse(
        readFileSync(join(away, 'node_modules/@warren', name, 'package.json'), 'utf8'),
      );
      expect(exports['.']).to.deep.equal({ types: './dist/index.d.ts', default: './dist/index.js' });
      expect(JSON.stringify(dependencies)).not.to.contain('file:');
      expect(scripts).to.equal(undefined);
    }
  });

  it('carry types that a service outside the checkout compiles against', async () => {
    const { code, output } = await runNode([join(away, 'node_modules/typescript/bin/tsc'), '--noEmit'], away);
    expect(output).to.equal('');
    expect(code).to.equal(0);
  });

  it('start a service outside the checkout, which signs a user up', async () => {
    const probe = await broker.probe('events', 'user.#');
    const [port, adminPort] = await freePorts(2);
    const service = startProcess({
      cwd: away,
      env: { PORT: port, ADMIN_PORT: adminPort, AMQP_URL: broker.url('user'), DATABASE_URL: database.url },
    });
    try {
      await service.ready();
      const response = await fetch(`http://127.0.0.1:${port}/users/save`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ name: 'Ada', email: 'ada@example.com' }),
      });
      expect(response.status).to.equal(201);
      await probe.waitFor({ type: 'user.created' });
    } finally {
      expect(await service.kill('SIGTERM')).to.equal(0);
    }
  });
});

describe('the testkit, packed', function () {
  this.timeout(300_000);
  const broker = withBroker({ services: ['session'] });
  const database = withDatabase();
  let away: string;

  before(async () => {
    away = mkdtempSync(join(tmpdir(), 'warren-testkit-'));
    const tarballs = await pack(join(away, 'vendor'), [
      'packages/events',
      'packages/contracts',
      'packages/testkit',
    ]);
    writeFileSync(join(away, 'package.json'), JSON.stringify({ type: 'module' }));
    const args = ['install', '--no-audit', '--no-fund', '--prefer-offline', ...tarballs.values()];
    await run('npm', args, { cwd: away });
  });
  after(() => rmSync(away, { recursive: true, force: true }));

  it('checks the contract of a service by npx', async () => {
    const [port, adminPort] = await freePorts(2);
    const start = `PORT=${port} ADMIN_PORT=${adminPort} AMQP_URL='${broker.url('session')}' exec npm start --silent --prefix '${join(checkout, 'services/session')}'`;
    writeFileSync(
      join(away, 'user.json'),
      JSON.stringify({ userId: randomUUID(), name: 'Ada', email: 'ada@example.com' }),
    );
    const { stdout } = await run(
      'npx',
      [
        ...['@warren/testkit', 'check', '--queue', 'session.user.created', '--sample', 'user.json'],
        ...['--contract', '@warren/contracts', '--only', 'duplicates', '--start', start],
      ],
      {
        cwd: away,
        env: {
          ...process.env,
          AMQP_URL: broker.adminUrl,
          AMQP_MANAGEMENT_URL: broker.managementUrl,
          DATABASE_URL: database.url,
        },
      },
    );
    expect(stdout).to.contain('2 kept, 0 broken, 0 not checked');
  });
});
