// A lockfile holds versions and checksums; where they come from is the machine's own setting.
import { directories, files, read } from './tree.ts';

export function checkLockfiles(): string[] {
  const wanted = ['.', ...directories()].map((directory) => (directory === '.' ? '' : `${directory}/`));
  const lockfiles = files('{,*/*/}package-lock.json');
  return [
    ...wanted
      .filter((directory) => !lockfiles.includes(`${directory}package-lock.json`))
      .map((directory) => `${directory}package-lock.json is missing: \`make install\` writes it`),
    ...lockfiles.flatMap((file) =>
      [...read(file).matchAll(/"resolved": *"((?:git\+)?(?:https?|ssh|git):\/\/[^"]*)"/g)]
        .slice(0, 1)
        .map(
          ([, url]) =>
            `${file} names a host (${url}): put omit-lockfile-registry-resolved=true into the .npmrc beside it and write it again`,
        ),
    ),
    ...files('{,*/*/}.npmrc')
      .filter((file) => /registry *=|_auth/i.test(read(file)))
      .map((file) => `${file} names a registry: that belongs into the machine's own settings`),
  ];
}
