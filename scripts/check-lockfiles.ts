// A lockfile holds versions and checksums for every platform; where they come from is the machine's own setting.
import { dirname, join } from 'node:path';
import { directories, files, read } from './tree.ts';

export function checkLockfiles(): string[] {
  const wanted = ['', ...directories().map((directory) => `${directory}/`)].map(
    (path) => `${path}package-lock.json`,
  );
  const lockfiles = files('{,bench/,*/*/}package-lock.json');
  return [
    ...wanted
      .filter((file) => !lockfiles.includes(file))
      .map((file) => `${file} is missing: run \`make install\` to create it`),
    ...lockfiles.flatMap((file) => [...hosts(file), ...gaps(file), ...stale(file)]),
    ...files('{,bench/,*/*/}.npmrc')
      .filter((file) => /registry *=|_auth/i.test(read(file)))
      .map((file) => `${file} sets a registry: remove it, because the registry is a setting of the machine`),
  ];
}

function hosts(file: string): string[] {
  const [, url] = /"resolved": *"((?:git\+)?(?:https?|ssh|git):\/\/[^"]*)"/.exec(read(file)) ?? [];
  return url
    ? [
        `${file} contains a host (${url}): set omit-lockfile-registry-resolved=true in the .npmrc beside it, and regenerate it`,
      ]
    : [];
}

/** npm leaves out, without a word, the package for another platform that it could not get; there, `npm ci` refuses the lockfile. */
function gaps(file: string): string[] {
  const { packages } = JSON.parse(read(file)) as {
    packages: Record<string, { optionalDependencies?: object }>;
  };
  const locked = new Set(Object.keys(packages).map((path) => path.split('node_modules/').at(-1)));
  return Object.entries(packages).flatMap(([path, { optionalDependencies = {} }]) => {
    const missing = Object.keys(optionalDependencies).filter((name) => !locked.has(name));
    return missing.length > 0
      ? [
          `${file} lacks packages that ${path.split('node_modules/').at(-1)} needs on other platforms (${missing.join(', ')}): regenerate it, or choose a version whose packages are all available`,
        ]
      : [];
  });
}

/** A lockfile repeats what the shared packages depend on; npm would write it anew at the next install. */
function stale(file: string): string[] {
  const { packages } = JSON.parse(read(file)) as { packages: Record<string, Manifest> };
  const said = (manifest: Manifest) =>
    JSON.stringify(
      [manifest.dependencies, manifest.devDependencies].map((each) => Object.entries(each ?? {}).sort()),
    );
  return Object.entries(packages).flatMap(([path, locked]) => {
    if (path.includes('node_modules/')) return [];
    const directory = join(dirname(file), path);
    const manifest = JSON.parse(read(`${directory}/package.json`)) as Manifest;
    return said(manifest) === said(locked)
      ? []
      : [
          `${file} is older than ${directory}/package.json: run npm install in ${dirname(file)}, and commit the result`,
        ];
  });
}

interface Manifest {
  dependencies?: Record<string, string>;
  devDependencies?: Record<string, string>;
}
