// Everything that is released by itself: packages, services, charts. Each has a directory, a version and a changelog.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { directories, files, read, root } from '../tree.ts';

export interface Unit {
  kind: 'package' | 'service' | 'chart';
  /** As in its tag: `chassis`, `order`, `chart-order`. */
  name: string;
  directory: string;
  version: string;
  /** Of the service that the chart deploys. */
  appVersion?: string;
  /** `chart-order-v0.1.0` */
  tag: string;
}

export function units(): Unit[] {
  return [
    ...directories('packages').map((directory) => fromManifest('package', directory)),
    ...directories('services').map((directory) => fromManifest('service', directory)),
    ...files('charts/*/Chart.yaml').map((file) => fromChart(file.replace('/Chart.yaml', ''))),
  ];
}

/**
 * The unit of a name or a tag. The version of a tag must be the one in the checkout.
 * @throws {Error} for a name that does not exist, and for a tag of another version
 */
export function findUnit(nameOrTag: string): Unit {
  const all = units();
  const [, name = nameOrTag, version] = /^(.+)-v(\d.*)$/.exec(nameOrTag) ?? [];
  const [unit, another] = all.filter((one) => one.name === name);
  if (unit === undefined)
    throw new Error(
      `${name} is not released from here: the names are ${all.map((one) => one.name).join(', ')}`,
    );
  if (another !== undefined)
    throw new Error(`${name} is both ${unit.directory} and ${another.directory}: rename one of them`);
  if (version !== undefined && version !== unit.version)
    throw new Error(
      `the tag ${nameOrTag} says ${version}, and ${unit.directory} says ${unit.version}: tag it ${unit.tag}, or change the version`,
    );
  return unit;
}

function fromManifest(kind: 'package' | 'service', directory: string): Unit {
  const { version } = JSON.parse(read(`${directory}/package.json`));
  const name = directory.split('/')[1] as string;
  return { kind, name, directory, version, tag: `${name}-v${version}` };
}

function fromChart(directory: string): Unit {
  const name = `chart-${directory.split('/')[1]}`;
  const version = chartField(directory, 'version') ?? '';
  return {
    kind: 'chart',
    name,
    directory,
    version,
    appVersion: chartField(directory, 'appVersion'),
    tag: `${name}-v${version}`,
  };
}

/** A field at the top of Chart.yaml, or of its dependency on the library chart when it is indented. */
export function chartField(directory: string, field: string, indent = ''): string | undefined {
  const [, value] = new RegExp(`^${indent}${field}: *(.+)$`, 'm').exec(read(`${directory}/Chart.yaml`)) ?? [];
  return value?.replaceAll(/^['"]|['"]$/g, '');
}

export const isThere = (file: string): boolean => existsSync(join(root, file));
