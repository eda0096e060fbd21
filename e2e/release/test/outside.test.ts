import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { keptServices, startBroker, startDatabase } from '@warren/testkit';
import { expect } from 'chai';
import { root } from '../../../scripts/tree.ts';
import { Deployment } from './support/deployment.ts';
import { filesOf, writeAll } from './support/page.ts';
import { type Registry, startRegistry } from './support/registry.ts';
import { run } from './support/run.ts';

const PACKAGES = ['events', 'contracts', 'chassis', 'edge', 'testkit'];
const REPOSITORY_URL = 'https://git.example.com/team/warren';

describe('the packages, published', function () {
  this.timeout(900_000);
  let registry: Registry;
  let outside: string;

  const publish = (name: string) =>
    run(process.execPath, ['scripts/release.ts', name], {
      cwd: root,
      env: { ...registry.env, REPOSITORY_URL },
    });
  const npm = (...args: string[]) => run('npm', args, { cwd: outside, env: registry.env });

  before('a registry, and a directory with the files of the pages', async () => {
    registry = await startRegistry();
    outside = mkdtempSync(join(tmpdir(), 'warren-outside-'));
    const code = [...filesOf('docs/how-to/add-a-service.md')].map(
      ([path, content]) => [path, content.replace("'@warren/contracts'", "'./events.ts'")] as const,
    );
    writeAll(outside, [...code, ...filesOf('docs/how-to/use-the-packages.md')]);
  });
  after(async () => {
    await registry?.stop();
    if (outside) rmSync(outside, { recursive: true, force: true });
  });

  it('refuse a release before that of the package it depends on', async () => {
    const error = await publish('contracts').catch((error: Error) => error);
    expect(error)
      .to.be.an('error')
      .with.property('message')
      .that.contains('@warren/events@^0.1.0 is not published');
  });

  it('are all published by the release script', async () => {
    for (const name of PACKAGES) await publish(name);

    for (const name of PACKAGES) {
      const { repository, license } = JSON.parse(await npm('view', `@warren/${name}`, '--json'));
      expect(repository).to.include({ url: `git+${REPOSITORY_URL}.git`, directory: `packages/${name}` });
      expect(license).to.equal('Apache-2.0');
    }
  });

  it('refuse to replace a version', async () => {
    const error = await publish('events').catch((error: Error) => error);
    expect(error)
      .to.be.an('error')
      .with.property('message')
      .that.matches(/previously published|already present|409/);
  });

  it('install into a service outside the repository', async () => {
    await npm('install', '--no-audit', '--no-fund', '--prefer-offline');
    for (const name of ['chassis', 'events', 'contracts', 'testkit'])
      expect(existsSync(join(outside, 'node_modules/@warren', name, 'dist/index.js')), name).to.equal(true);
    const lockfile = JSON.parse(readFileSync(join(outside, 'package-lock.json'), 'utf8'));
    const { integrity } = lockfile.packages['node_modules/@warren/chassis'];
    expect(integrity).to.equal((await npm('view', '@warren/chassis', 'dist.integrity')).trim());
  });

  it('carry types that it compiles against, libraries included', async () => {
    await npm('run', 'types');
  });

  it('carry it through its tests, against a real broker and a real database', async () => {
    const settings = { env: { ...keptServices(), ...process.env } };
    const [broker, database] = await Promise.all([startBroker(settings), startDatabase(settings)]);
    const servers = {
      AMQP_URL: broker.url,
      AMQP_MANAGEMENT_URL: broker.managementUrl,
      DATABASE_URL: database.url,
    };
    const output = await run('npm', ['test'], {
      cwd: outside,
      env: { ...registry.env, ...servers },
    }).finally(() => Promise.all([broker.stop(), database.stop()]));
    expect(output).to.contain('1 passing');
  });

  describe('in a cluster', () => {
    const { RELEASE_REGISTRY } = process.env;
    let deployment: Deployment;

    before(function () {
      if (!RELEASE_REGISTRY) {
        console.log(
          '      skipped: RELEASE_REGISTRY does not name a registry that this machine and the cluster share',
        );
        this.skip();
      }
      deployment = new Deployment(RELEASE_REGISTRY, outside);
    });
    after(() => deployment?.remove());

    it('its charts are published by the release script', () => deployment.publishCharts());

    it('its image is built by its own Dockerfile', () =>
      deployment.publishImage(`@warren:registry=${registry.url}/\n`));

    it('its chart is packaged on the published library chart', () => deployment.publishChart());

    it('it is installed from the registry, and answers', async () => {
      await Promise.all([
        deployment.install(
          'rabbitmq',
          '--set',
          'services.parcel.enabled=true,services.parcel.consumes={order.confirmed.v1}',
        ),
        deployment.install('postgresql', '--set', 'services.parcel.enabled=true'),
      ]);
      await deployment.install('parcel');
      expect(await deployment.test('parcel')).to.match(/Phase: +Succeeded/);
    });
  });
});
