// Makes the tarballs in which the shared packages leave this checkout:  node scripts/pack.ts [DIRECTORY, by default dist]
// In the checkout they export TypeScript source; a tarball holds compiled JavaScript with types, because Node.js strips no
// types inside node_modules, and names its siblings by version instead of by directory.
import { execFile } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { read, root } from './tree.ts';

const packages = ['packages/events', 'packages/contracts', 'packages/chassis', 'packages/edge'];
const run = promisify(execFile);

if (import.meta.main) {
  for (const tarball of (await pack(resolve(process.argv[2] ?? 'dist'))).values()) console.log(tarball);
}

/** Paths of the tarballs by package name. */
export async function pack(destination: string): Promise<Map<string, string>> {
  mkdirSync(destination, { recursive: true });
  const tarballs = new Map<string, string>();
  for (const directory of packages) {
    const stage = mkdtempSync(join(tmpdir(), 'warren-pack-'));
    try {
      const manifest = manifestOf(directory);
      await compile(directory, stage);
      writeFileSync(join(stage, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
      for (const file of ['README.md', 'CHANGELOG.md', ...manifest.files.filter((file) => file !== 'dist')]) {
        const from = join(root, directory, file);
        if (existsSync(from)) cpSync(from, join(stage, file), { recursive: true });
      }
      cpSync(join(root, 'LICENSE'), join(stage, 'LICENSE'));
      const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', destination], {
        cwd: stage,
      });
      tarballs.set(manifest.name, join(destination, filename(stdout)));
    } finally {
      rmSync(stage, { recursive: true, force: true });
    }
  }
  return tarballs;
}

interface Manifest {
  name: string;
  files: string[];
  [key: string]: unknown;
}

function manifestOf(directory: string): Manifest {
  const {
    scripts: _,
    devDependencies: __,
    private: ___,
    ...manifest
  } = JSON.parse(read(`${directory}/package.json`));
  return {
    ...manifest,
    exports: compiled(manifest.exports),
    ...(manifest.bin === undefined ? {} : { bin: compiled(manifest.bin) }),
    files: manifest.files.map((file: string) => (file === 'src' ? 'dist' : file)),
    dependencies: Object.fromEntries(
      Object.entries<string>(manifest.dependencies ?? {}).map(([name, range]) => [
        name,
        released(range, directory),
      ]),
    ),
  };
}

/** `./src/index.ts` → `./dist/index.js`, or `./dist/index.d.ts` under `types`; whatever is no source stays. */
function compiled(target: unknown, condition?: string): unknown {
  if (typeof target === 'string')
    return target.replace(/^\.\/src\/(.*)\.ts$/, `./dist/$1.${condition === 'types' ? 'd.ts' : 'js'}`);
  return Object.fromEntries(
    Object.entries(target as object).map(([key, value]) => [key, compiled(value, key)]),
  );
}

/** `file:../events` → the range of its version. */
function released(range: string, directory: string): string {
  if (!range.startsWith('file:')) return range;
  return `^${JSON.parse(read(join(directory, range.slice('file:'.length), 'package.json'))).version}`;
}

async function compile(directory: string, stage: string): Promise<void> {
  const project = join(stage, 'tsconfig.json');
  const source = join(root, directory, 'src');
  writeFileSync(
    project,
    JSON.stringify({
      extends: join(root, directory, 'tsconfig.json'),
      include: [source],
      compilerOptions: {
        noEmit: false,
        rewriteRelativeImportExtensions: true,
        declaration: true,
        rootDir: source,
        outDir: join(stage, 'dist'),
        types: ['node'],
        typeRoots: [join(root, directory, 'node_modules', '@types')],
      },
    }),
  );
  const tsc = join(root, 'node_modules', '.bin', 'tsc');
  await run(process.execPath, [tsc, '--pretty', 'false', '-p', project]).catch((cause) => {
    throw new Error(`cannot compile ${directory}:\n${cause.stdout}`, { cause });
  });
  rmSync(project);
}

function filename(output: string): string {
  const report = JSON.parse(output);
  const [entry] = Array.isArray(report) ? report : Object.values(report);
  return entry.filename;
}
