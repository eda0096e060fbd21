// Makes the tarballs in which the shared packages leave this checkout:  node scripts/pack.ts [DIRECTORY, by default dist]
// In the checkout they export TypeScript source; a tarball holds compiled JavaScript with types, because Node.js strips no
// types inside node_modules, and names its siblings by version instead of by directory.
import { execFile } from 'node:child_process';
import {
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { parseSync } from 'oxc-parser';
import { repositoryUrl } from './repository.ts';
import { directories, read, root } from './tree.ts';

const run = promisify(execFile);

if (import.meta.main) {
  for (const tarball of (await pack(resolve(process.argv[2] ?? 'dist'))).values()) console.log(tarball);
}

/** A package, compiled into a directory of its own. */
export interface Built {
  name: string;
  /** In this checkout: `packages/chassis`. */
  directory: string;
  /** Holds what the tarball holds. */
  stage: string;
  manifest: Manifest;
}

export interface Manifest {
  name: string;
  version: string;
  files: string[];
  exports: Record<string, unknown>;
  dependencies?: Record<string, string>;
  peerDependencies?: Record<string, string>;
  [key: string]: unknown;
}

/**
 * Paths of the tarballs by package name.
 * @param destination is made if it does not exist
 */
export async function pack(destination: string, packages?: readonly string[]): Promise<Map<string, string>> {
  mkdirSync(destination, { recursive: true });
  return withBuilt(async (built) => {
    const tarballs = await Promise.all(built.map((one) => tarball(one, destination)));
    return new Map(built.map(({ name }, index) => [name, tarballs[index] as string]));
  }, packages);
}

/** Compiles the packages, by default all, and removes the result afterwards. */
export async function withBuilt<Result>(
  use: (built: Built[]) => Promise<Result>,
  packages: readonly string[] = directories('packages'),
): Promise<Result> {
  const scratch = mkdtempSync(join(tmpdir(), 'warren-pack-'));
  try {
    return await use(await Promise.all(packages.map((directory) => build(directory, scratch))));
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Packs what was built, and returns the path of the tarball. */
export async function tarball({ stage }: Built, destination: string): Promise<string> {
  const args = ['pack', '--json', '--ignore-scripts', '--pack-destination', destination];
  const { stdout } = await run('npm', args, { cwd: stage });
  return join(destination, filename(stdout));
}

async function build(directory: string, scratch: string): Promise<Built> {
  const stage = join(scratch, directory);
  mkdirSync(stage, { recursive: true });
  await compile(directory, stage);
  const manifest = manifestOf(directory, stage);
  writeFileSync(join(stage, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
  for (const file of ['README.md', ...manifest.files.filter((file) => file !== 'dist')]) {
    const from = join(root, directory, file);
    if (existsSync(from)) cpSync(from, join(stage, file), { recursive: true });
  }
  cpSync(join(root, 'LICENSE'), join(stage, 'LICENSE'));
  return { name: manifest.name, directory, stage, manifest };
}

function manifestOf(directory: string, stage: string): Manifest {
  const {
    scripts: _,
    devDependencies,
    private: __,
    ...manifest
  } = JSON.parse(read(`${directory}/package.json`));
  const url = repositoryUrl();
  return {
    ...manifest,
    ...(url === undefined ? {} : { repository: { type: 'git', url: `git+${url}.git`, directory } }),
    publishConfig: { access: 'public' },
    exports: compiled(manifest.exports),
    ...(manifest.bin === undefined ? {} : { bin: compiled(manifest.bin) }),
    files: [...manifest.files.map((file: string) => (file === 'src' ? 'dist' : file)), 'CHANGELOG.md'],
    dependencies: {
      ...Object.fromEntries(
        Object.entries<string>(manifest.dependencies ?? {}).map(([name, range]) => [
          name,
          released(range, directory),
        ]),
      ),
      ...typesOfDeclarations(stage, devDependencies ?? {}),
    },
  };
}

/** The `@types/…` without which the declarations do not compile: here they are for development, and there for the user. */
function typesOfDeclarations(stage: string, development: Record<string, string>): Record<string, string> {
  const imported = importedByDeclarations(stage);
  return Object.fromEntries(
    Object.entries(development).filter(
      ([name]) => name.startsWith('@types/') && imported.has(name.replace('@types/', '')),
    ),
  );
}

/** The packages that the declarations of a package import; their comments show imports as examples. */
export function importedByDeclarations(stage: string): Set<string> {
  const texts = globSync('dist/**/*.d.ts', { cwd: stage }).map((file) =>
    withoutComments(readFileSync(join(stage, file), 'utf8')),
  );
  const names = texts.flatMap((text) =>
    [
      ...text.matchAll(/(?:\bfrom |\bimport\(|^import )["']((?:@[\w.-]+\/)?\w[\w.-]*)(?:\/[^"']*)?["']/gm),
    ].map(([, name]) => name as string),
  );
  return new Set(names);
}

function withoutComments(text: string): string {
  return parseSync('declarations.d.ts', text).comments.reduceRight(
    (rest, { start, end }) => rest.slice(0, start) + rest.slice(end),
    text,
  );
}

/** `./src/index.ts` → `./dist/index.js`, or `./dist/index.d.ts` under `types`; whatever is not a source stays. */
function compiled(target: unknown, condition?: string): unknown {
  if (target === null) return null;
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
  const dist = join(stage, 'dist');
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
        outDir: dist,
        typeRoots: [join(root, directory, 'node_modules', '@types')],
      },
    }),
  );
  const tsc = join(root, 'node_modules', '.bin', 'tsc');
  await run(process.execPath, [tsc, '--pretty', 'false', '-p', project]).catch((cause) => {
    throw new Error(`cannot compile ${directory}:\n${cause.stdout}`, { cause });
  });
  rmSync(project);
  for (const file of globSync('**/*.{js,d.ts}', { cwd: dist })) nameJavaScript(join(dist, file));
}

/**
 * The compiler rewrites the imports of JavaScript alone. No `./a.ts` is packed, so `./a.ts` becomes `./a.js` in declarations and
 * in `new URL('./a.ts', import.meta.url)`, too.
 */
function nameJavaScript(file: string): void {
  const text = readFileSync(file, 'utf8');
  const named = file.endsWith('.d.ts')
    ? text.replace(/((?:from |import\()["']\.[^"']*)\.ts(["'])/g, '$1.js$2')
    : text.replace(/(new URL\(["']\.[^"']*)\.ts(["'], import\.meta\.url)/g, '$1.js$2');
  if (named !== text) writeFileSync(file, named);
}

function filename(output: string): string {
  const report = JSON.parse(output);
  const [entry] = Array.isArray(report) ? report : Object.values(report);
  return entry.filename;
}
