// Where things are in this checkout.
import { existsSync, globSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('..', import.meta.url));

const PARENTS = ['packages', 'services', 'e2e', 'examples'] as const;
type Parent = (typeof PARENTS)[number];

/**
 * Every directory with a package.json of its own, the root left out: `packages/contracts`, `services/user`, `bench`, …
 * @param parents those inside these alone
 */
export function directories(...parents: Parent[]): string[] {
  const inside = (parents.length > 0 ? parents : PARENTS).flatMap((parent) =>
    (existsSync(join(root, parent)) ? readdirSync(join(root, parent)).sort() : []).map(
      (name) => `${parent}/${name}`,
    ),
  );
  return [...inside, ...(parents.length > 0 ? [] : ['bench'])].filter((directory) =>
    existsSync(join(root, directory, 'package.json')),
  );
}

/** Those with TypeScript: an example in another language has a package.json for its scripts alone. */
export const typescriptDirectories = (): string[] =>
  directories().filter((directory) => existsSync(join(root, directory, 'tsconfig.json')));

/** The files of ours that match, seen from the root. */
export function files(pattern: string): string[] {
  return globSync(pattern, {
    cwd: root,
    exclude: (name) => ['node_modules', 'dist', '.git', '.tools', '.venv', 'coverage'].includes(name),
  }).sort();
}

export function read(file: string): string {
  return readFileSync(join(root, file), 'utf8');
}
