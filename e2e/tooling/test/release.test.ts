import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { type Copy, copyCheckout } from '../../../scripts/copy.ts';
import { findUnit, units } from '../../../scripts/release/units.ts';

describe('scripts/release.ts', function () {
  this.timeout(60_000);
  let copy: Copy;

  before(() => {
    copy = copyCheckout();
  });
  after(() => copy.remove());

  const order = findUnit('order');
  const release = (...args: string[]) => copy.run('scripts/release.ts', ...args);

  /** As if nothing were unreleased. */
  const changelog = 'services/order/CHANGELOG.md';
  const released = `# Changelog\n\n## [Unreleased]\n\n## [${order.version}] - 2026-11-30\n`;
  const prepared = <T>(during: () => Promise<T>) => copy.with({ [changelog]: released }, during);

  it('lists every package, service and chart with its tag', async () => {
    const { output } = await release();
    for (const { tag } of units()) expect(output).to.match(new RegExp(` ${tag}$`, 'm'));
    expect(output).to.contain('chart-order-v');
  });

  it('finds every unit by its tag', () => {
    for (const unit of units()) expect(findUnit(unit.tag)).to.deep.equal(unit);
  });

  it('says what a tag releases, before anything is installed', async () => {
    const modules = join(copy.root, 'node_modules');
    renameSync(modules, `${modules}.aside`);
    const { code, output } = await prepared(() => release(order.tag, '--check')).finally(() =>
      renameSync(`${modules}.aside`, modules),
    );
    expect(output).to.equal(`kind=service\nname=order\nversion=${order.version}\n`);
    expect(code).to.equal(0);
  });

  it('refuses the tag of another version', async () => {
    const { code, output } = await release('order-v9.0.0', '--check');
    expect(output).to.match(/^the tag order-v9.0.0 says 9.0.0, and services\/order says \S+: tag it order-v/);
    expect(code).to.equal(1);
  });

  it('refuses a name that is not released, and lists those that are', async () => {
    const { code, output } = await release('ordr', '--check');
    expect(output).to.match(/^ordr is not released from here: the names are .*\border\b/);
    expect(code).to.equal(1);
  });

  it('refuses a changelog with entries that have no version', async () => {
    const planted = released.replace('## [Unreleased]\n', '## [Unreleased]\n\n### Fixed\n- Planted.\n');
    const { code, output } = await copy.with({ [changelog]: planted }, () => release('order', '--check'));
    expect(output).to.contain(`${changelog} has entries under Unreleased: give them a version and a date`);
    expect(code).to.equal(1);
  });

  it('publishes nothing without the registry of images', async () => {
    const { code, output } = await prepared(() => release('order'));
    expect(output).to.contain('IMAGE_REGISTRY is missing: set it to a registry and a path in it');
    expect(code).to.equal(1);
  });

  it('builds the image of a service with its version, an SBOM and a provenance, and pushes it', async () => {
    const tools = mkdtempSync(join(tmpdir(), 'warren-tools-'));
    const calls = join(tools, 'calls');
    // Docker as the script calls it; a registry answers that the tag is unknown.
    const docker = `#!/bin/sh\necho "$@" >>'${calls}'\n[ "$2" = build ]\n`;
    writeFileSync(join(tools, 'docker'), docker, { mode: 0o755 });
    const { PATH } = process.env;
    Object.assign(process.env, { PATH: `${tools}:${PATH}`, IMAGE_REGISTRY: 'registry.example.com/team' });
    try {
      expect((await prepared(() => release('order'))).code).to.equal(0);
      const [inspect, build] = readFileSync(calls, 'utf8').split('\n');
      expect(inspect).to.match(/^buildx imagetools inspect registry.example.com\/team\/warren\/order:\d/);
      expect(build).to.match(/--build-arg SERVICE=order .*--sbom=true --provenance=mode=max --push \.$/);
    } finally {
      process.env.PATH = PATH;
      delete process.env.IMAGE_REGISTRY;
      rmSync(tools, { recursive: true, force: true });
    }
  });
});
