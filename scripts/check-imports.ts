// Imports point one way: services/* → packages/chassis → packages/events ← packages/contracts ← services/*. This reads the
// specifiers of every import, and the dependencies of every package.json, and says which go another way.
import { dirname, normalize } from 'node:path';
import { parseSync } from 'oxc-parser';
import { faultOfFloors, type Import, targetOf } from './check-floors.ts';
import { directories, files, read } from './tree.ts';

/** What reaches a service through the chassis and events alone, so that there is one copy of each. */
const inChassis = ['koa', 'koa-helmet', 'rascal', 'amqplib', 'pg', 'kysely', 'pino', 'prom-client'];
const inEvents = ['joi'];

/** Our own packages that a directory's sources may import; its tests and benchmarks may import the testkit besides. */
function mayImport(directory: string): string[] {
  if (directory === 'packages/events') return [];
  if (directory === 'packages/edge') return ['@warren/chassis'];
  if (directory.startsWith('packages/')) return ['@warren/events'];
  return ['@warren/chassis', '@warren/contracts', '@warren/edge', '@warren/events'];
}

export function checkImports(): string[] {
  return [...checkPackages(), ...checkFloors()];
}

function checkPackages(): string[] {
  return [...directories(), 'scripts'].flatMap((directory) => [
    ...files(`${directory}/**/*.{ts,mts,cts,js,mjs,cjs}`).flatMap((file) =>
      specifiers(file).flatMap(({ specifier, line }) => {
        const fault = faultOf(specifier, file, directory);
        return fault ? [`${file}:${line} imports '${specifier}': ${fault}`] : [];
      }),
    ),
    ...dependencies(directory).flatMap(({ name, development }) => {
      const fault = faultOfPackage(name, directory, development);
      return fault ? [`${directory}/package.json depends on '${name}': ${fault}`] : [];
    }),
  ]);
}

const CHASSIS = 'packages/chassis/src';

function checkFloors(): string[] {
  const imports = files(`${CHASSIS}/**/*.ts`).flatMap((file) => importsOf(file));
  return imports.flatMap((each) => {
    const fault = faultOfFloors(each);
    return fault ? [`${CHASSIS}/${each.from}:${each.line} imports '${each.to}': ${fault}`] : [];
  });
}

function importsOf(file: string): Import[] {
  const from = file.slice(CHASSIS.length + 1);
  return specifiers(file)
    .filter(({ specifier }) => specifier.startsWith('.'))
    .map(({ specifier, line }) => ({ from, to: targetOf(from, specifier), line }))
    .filter(({ to }) => !to.startsWith('..'));
}

function faultOf(specifier: string, file: string, directory: string): string | undefined {
  if (specifier.startsWith('.')) return faultOfPath(normalize(`${dirname(file)}/${specifier}`), directory);
  if (specifier.startsWith('/') || specifier.startsWith('file:'))
    return 'use a package name or a relative path';
  if (specifier.startsWith('node:')) return undefined;
  const [packageName = specifier] = /^(@[^/]+\/)?[^/]+/.exec(specifier) ?? [];
  if (packageName.startsWith('@warren/') && !isExported(specifier, packageName))
    return `import the exports of ${packageName}, not its files`;
  return faultOfPackage(packageName, directory, /\/(test|bench)\//.test(file));
}

function isExported(specifier: string, packageName: string): boolean {
  const home = directories('packages').find((directory) => nameOf(directory) === packageName);
  if (specifier === packageName || home === undefined) return specifier === packageName;
  return `.${specifier.slice(packageName.length)}` in JSON.parse(read(`${home}/package.json`)).exports;
}

function faultOfPath(target: string, directory: string): string | undefined {
  if (target.startsWith(`${directory}/`)) return undefined;
  const service = /^services\/[^/]+/.exec(target)?.[0];
  if (service && directory !== 'scripts') return `only ${service} may import its own files`;
  if (isOfTheWhole(directory)) return undefined;
  return `it is outside of ${directory}: import shared code by package name`;
}

/** Scripts, the benchmark and the tests of the whole may know everything but the inside of a service. */
function isOfTheWhole(directory: string): boolean {
  return ['scripts', 'bench'].includes(directory) || directory.startsWith('e2e/');
}

function faultOfPackage(name: string, directory: string, inTest: boolean): string | undefined {
  const service = directories('services').find((other) => name === nameOf(other));
  if (service) return service === directory ? undefined : `only ${service} may import its own files`;
  if (isOfTheWhole(directory) || name === nameOf(directory)) return undefined;
  if (name === '@warren/testkit')
    return inTest ? undefined : 'only tests and benchmarks may import the testkit';
  if (name.startsWith('@warren/') && !mayImport(directory).includes(name))
    return `${directory} may import ${mayImport(directory).join(' and ') || 'no package of this repository'}`;
  if (directory.startsWith('services/') && (inChassis.includes(name) || name.startsWith('@koa/')))
    return 'a service uses it only through @warren/chassis';
  if (inEvents.includes(name) && directory !== 'packages/events') return 'use it only through @warren/events';
  return undefined;
}

function nameOf(directory: string): string | undefined {
  return directory === 'scripts' ? undefined : JSON.parse(read(`${directory}/package.json`)).name;
}

function dependencies(directory: string): { name: string; development: boolean }[] {
  if (directory === 'scripts') return [];
  const manifest = JSON.parse(read(`${directory}/package.json`));
  return ['dependencies', 'peerDependencies', 'optionalDependencies', 'devDependencies'].flatMap((kind) =>
    Object.keys(manifest[kind] ?? {}).map((name) => ({ name, development: kind === 'devDependencies' })),
  );
}

/** Of static, dynamic, type and `require` imports, and of exports from elsewhere. */
export function specifiers(file: string): { specifier: string; line: number }[] {
  const source = read(file);
  const found: { specifier: string; line: number }[] = [];
  const visit = (node: unknown): void => {
    if (typeof node !== 'object' || node === null) return;
    const { type, start, source: from, callee, arguments: args } = node as Node;
    const literal = callee?.name === 'require' ? args?.[0] : from;
    if ((importing.has(type) || callee?.name === 'require') && typeof literal?.value === 'string')
      found.push({ specifier: literal.value, line: source.slice(0, start).split('\n').length });
    for (const child of Object.values(node)) visit(child);
  };
  visit(parseSync(file, source).program);
  return found;
}

const importing = new Set([
  'ImportDeclaration',
  'ExportNamedDeclaration',
  'ExportAllDeclaration',
  'ImportExpression',
  'TSImportType',
]);

interface Node {
  type: string;
  start: number;
  source?: { value?: unknown } | null;
  callee?: { name?: string };
  arguments?: { value?: unknown }[];
}
