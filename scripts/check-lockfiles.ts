// A lockfile holds versions and checksums for every platform; where they come from is the machine's own setting.
import { directories, files, read } from './tree.ts';

export function checkLockfiles(): string[] {
  const wanted = ['', ...directories().map((directory) => `${directory}/`)].map(
    (path) => `${path}package-lock.json`,
  );
  const lockfiles = files('{,*/*/}package-lock.json');
  return [
    ...wanted
      .filter((file) => !lockfiles.includes(file))
      .map((file) => `${file} is missing: \`make install\` writes it`),
    ...lockfiles.flatMap((file) => [...hosts(file), ...gaps(file)]),
    ...files('{,*/*/}.npmrc')
      .filter((file) => /registry *=|_auth/i.test(read(file)))
      .map((file) => `${file} names a registry: that belongs into the machine's own settings`),
  ];
}

function hosts(file: string): string[] {
  const [, url] = /"resolved": *"((?:git\+)?(?:https?|ssh|git):\/\/[^"]*)"/.exec(read(file)) ?? [];
  return url
    ? [
        `${file} names a host (${url}): put omit-lockfile-registry-resolved=true into the .npmrc beside it and write it again`,
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
          `${file} lacks what ${path.split('node_modules/').at(-1)} needs on other platforms (${missing.join(', ')}): write it again, or choose a version whose packages are all there`,
        ]
      : [];
  });
}
