// A service outside the repository, in the cluster of the current context: image and charts come from one OCI registry.
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../../../../scripts/tree.ts';
import { run } from './run.ts';

const CHARTS = ['chassis', 'rabbitmq', 'postgresql'];

export class Deployment {
  readonly #namespace = `warren-release-${randomBytes(3).toString('hex')}`;
  /** A path of this run alone: a version is published once. */
  readonly #registry: string;
  readonly #outside: string;

  /** @param registry which this machine and the nodes of the cluster reach by the same name */
  constructor(registry: string, outside: string) {
    this.#registry = `${registry}/${this.#namespace}`;
    this.#outside = outside;
  }

  /** Publishes the charts that the service needs, by the release script. */
  async publishCharts(): Promise<void> {
    const env = { ...process.env, CHART_REGISTRY: this.#registry };
    for (const name of CHARTS)
      await run(process.execPath, ['scripts/release.ts', `chart-${name}`], { cwd: root, env });
  }

  /** @param npmrc settings with which the build finds the packages */
  async publishImage(npmrc: string): Promise<void> {
    writeFileSync(join(this.#outside, '.npmrc'), npmrc);
    const image = `${this.#registry}/parcel:0.1.0`;
    // The registry of the packages is on this machine.
    await this.#run('docker', ['build', '--network', 'host', '--tag', image, '.']);
    await this.#run('docker', ['push', image]);
  }

  async publishChart(): Promise<void> {
    for (const file of ['chart/Chart.yaml', 'chart/values.yaml']) {
      const path = join(this.#outside, file);
      writeFileSync(path, readFileSync(path, 'utf8').replaceAll('registry.example.com/team', this.#registry));
    }
    await this.#run('helm', ['dependency', 'update', 'chart', ...this.#plain]);
    await this.#run('helm', ['package', 'chart']);
    await this.#run('helm', ['push', 'parcel-0.1.0.tgz', `oci://${this.#registry}/charts`, ...this.#plain]);
  }

  async install(chart: string, ...more: string[]): Promise<void> {
    const from = [`oci://${this.#registry}/charts/${chart}`, '--version', '0.1.0', ...this.#plain];
    const into = ['--namespace', this.#namespace, '--create-namespace', '--wait', '--timeout', '4m'];
    await this.#run('helm', ['install', chart, ...from, ...into, ...more]);
  }

  /** The output of `helm test`. */
  test(release: string): Promise<string> {
    return this.#run('helm', ['test', release, '--namespace', this.#namespace]);
  }

  async remove(): Promise<void> {
    await this.#run('kubectl', ['delete', 'namespace', this.#namespace, '--ignore-not-found']);
  }

  /** Registries on this machine have no certificate. */
  get #plain(): string[] {
    return /^(localhost|127\.0\.0\.1)[:/]/.test(this.#registry) ? ['--plain-http'] : [];
  }

  #run(command: string, args: string[]): Promise<string> {
    return run(command, args, { cwd: this.#outside });
  }
}
