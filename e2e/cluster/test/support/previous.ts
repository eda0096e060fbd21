// A version from before: its charts, and images of its services in the nodes of a kind cluster.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SERVICES } from './kube.ts';
import { run } from './run.ts';

const checkout = fileURLToPath(new URL('../../../../', import.meta.url));

export interface Previous {
  /** Where a chart is, complete. */
  chart(release: string): string;
  /** The image of a service. */
  image(service: string): string;
}

/**
 * Builds what `git archive` gives of a commit. Skips where the commit is not in the history, or the cluster is not of kind.
 *
 * @param ref a commit, branch or tag
 */
export function withPrevious(ref: string): Previous {
  let scratch: string | undefined;
  let tag = '';

  before(`the images and charts of ${ref}`, async function () {
    const commit = await run('git', ['rev-parse', '--verify', `${ref}^{commit}`], { cwd: checkout }).catch(
      ({ message }: Error) => {
        console.log(
          `      ${ref} is not in the history of this checkout; PREVIOUS names another: ${message}`,
        );
      },
    );
    if (!commit) this.skip();
    const context = (await run('kubectl', ['config', 'current-context'])).trim();
    if (!context.startsWith('kind-')) {
      console.log(
        `      Images of a previous version can be loaded into a kind cluster, not into ${context}.`,
      );
      this.skip();
    }
    tag = `previous-${commit.slice(0, 12)}`;
    scratch = mkdtempSync(join(tmpdir(), 'warren-previous-'));
    await unpack(commit.trim(), scratch);
    for (const service of SERVICES)
      await run('helm', ['dependency', 'build', join(scratch, 'charts', service)]);
    const images = SERVICES.map((service) => `warren/${service}:${tag}`);
    for (const service of SERVICES) await build(service, tag, scratch);
    await run('kind', ['load', 'docker-image', '--name', context.replace('kind-', ''), ...images]);
  });

  after(() => {
    if (scratch !== undefined) rmSync(scratch, { recursive: true, force: true });
  });

  return {
    chart: (release) => join(scratch as string, 'charts', release),
    image: (service) => `warren/${service}:${tag}`,
  };
}

async function unpack(commit: string, directory: string): Promise<void> {
  const archive = join(directory, 'archive.tar');
  await run('git', ['archive', '--output', archive, commit], { cwd: checkout });
  await run('tar', ['--extract', '--file', archive, '--directory', directory]);
  rmSync(archive);
}

const build = (service: string, tag: string, cwd: string) =>
  run(
    'docker',
    [
      ...['build', '--quiet', '--file', 'services/Dockerfile', '--build-arg', `SERVICE=${service}`],
      ...['--tag', `warren/${service}:${tag}`, '.'],
    ],
    { cwd, timeout: 600_000 },
  );
