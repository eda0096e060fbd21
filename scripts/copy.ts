// Copies of this checkout to plant faults in.
import { execFile } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { root as checkout } from './tree.ts';

export { checkout };

const made = new Set(['node_modules', '.git', '.tools', '.venv', 'coverage', 'dist']);

export interface Ended {
  code: number;
  /** Standard output and error. */
  output: string;
}

/** A copy of this checkout to plant faults in; what is installed is linked, not copied. */
export interface Copy {
  root: string;
  read(file: string): string;
  /** Writes a file for as long as `during` runs, then puts back what was there. */
  with<T>(files: Record<string, string | undefined>, during: () => Promise<T>): Promise<T>;
  /** Runs a script of the copy. */
  run(script: string, ...args: string[]): Promise<Ended>;
  remove(): void;
}

export function copyCheckout(): Copy {
  const root = mkdtempSync(join(tmpdir(), 'warren-copy-'));
  cpSync(checkout, root, { recursive: true, filter: (source) => !made.has(basename(source)) });
  const parents = ['packages', 'services', 'e2e', 'examples'].flatMap(inside);
  for (const directory of ['.', 'bench', ...parents].filter(isInstalled))
    linkModules(join(checkout, directory), join(root, directory));

  const put = (file: string, content: string | undefined) => {
    const path = join(root, file);
    mkdirSync(dirname(path), { recursive: true });
    if (content === undefined) rmSync(path, { recursive: true, force: true });
    else writeFileSync(path, content);
  };
  const read = (file: string) => readFileSync(join(root, file), 'utf8');

  return {
    root,
    read,
    async with(files, during) {
      const before = Object.keys(files).map(
        (file) => [file, existsSync(join(root, file)) ? read(file) : undefined] as const,
      );
      for (const [file, content] of Object.entries(files)) put(file, content);
      try {
        return await during();
      } finally {
        for (const [file, content] of before) put(file, content);
      }
    },
    run: (script, ...args) => runNode([join(root, script), ...args], root),
    remove: () => rmSync(root, { recursive: true, force: true }),
  };
}

export function runNode(args: string[], cwd: string): Promise<Ended> {
  return new Promise((resolve) => {
    execFile(process.execPath, args, { cwd, maxBuffer: 64 * 1024 ** 2 }, (error, stdout, stderr) =>
      resolve({ code: error ? Number(error.code ?? 1) : 0, output: stdout + stderr }),
    );
  });
}

const inside = (parent: string): string[] =>
  readdirSync(join(checkout, parent)).map((name) => `${parent}/${name}`);

const isInstalled = (directory: string): boolean => existsSync(join(checkout, directory, 'node_modules'));

/** Every package is the checkout's, but our own: those are the copy's. */
function linkModules(from: string, to: string): void {
  mkdirSync(join(to, 'node_modules'));
  for (const name of readdirSync(join(from, 'node_modules'))) {
    if (name !== '@warren') symlinkSync(join(from, 'node_modules', name), join(to, 'node_modules', name));
  }
  const ours = join('node_modules', '@warren');
  if (!existsSync(join(from, ours))) return;
  mkdirSync(join(to, ours));
  for (const name of readdirSync(join(from, ours)))
    symlinkSync(readlinkSync(join(from, ours, name)), join(to, ours, name));
}
