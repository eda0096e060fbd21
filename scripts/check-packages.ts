// The packages as their users get them: packed, then checked by publint and Are The Types Wrong, and file by file. The reports
// of docs/reference/api are compared with the same declarations.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkPackage, createPackageFromTarballData, type Problem } from '@arethetypeswrong/core';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';
import { apiReports } from './api.ts';
import { outOfDate } from './generated.ts';
import { type Built, importedByDeclarations, tarball, withBuilt } from './pack.ts';

/** The packages are ES modules for Node.js 24: neither old resolution matters. Node.js 24 also loads them by `require()`. */
const NOT_SUPPORTED = ['node10', 'node16-cjs'];
const REQUIRED_FIELDS = ['name', 'version', 'description', 'license', 'type', 'engines', 'exports'];
const REQUIRED_FILES = [
  'package.json',
  'README.md',
  'CHANGELOG.md',
  'LICENSE',
  'dist/index.js',
  'dist/index.d.ts',
];

const MODULE_OR_MIGRATION = /^(dist\/.*\.(js|d\.ts)|migrations\/[^/]+\.sql)$/;

export function checkPackages(): Promise<string[]> {
  const scratch = mkdtempSync(join(tmpdir(), 'warren-packages-'));
  return withBuilt(async (built) => {
    const found = await Promise.all(built.map((one) => faultsOf(one, scratch)));
    return [...found.flat(), ...(await outOfDate(apiReports(built)))];
  })
    .catch((error: Error) => [error.message])
    .finally(() => rmSync(scratch, { recursive: true, force: true }));
}

async function faultsOf(built: Built, scratch: string): Promise<string[]> {
  const data = readFileSync(await tarball(built, scratch));
  const contents = createPackageFromTarballData(new Uint8Array(data));
  const listed = contents.listFiles(`/node_modules/${built.name}`);
  const prefix = `/node_modules/${built.name}/`;
  return [
    ...fields(built),
    ...undeclared(built),
    ...files(listed.map((file) => file.slice(prefix.length))),
    ...(await types(contents)),
    ...(await lint(data)),
  ].map((fault) => `${built.directory}: ${fault}`);
}

const fields = ({ manifest }: Built): string[] =>
  REQUIRED_FIELDS.filter((field) => manifest[field] === undefined).map(
    (field) => `package.json lacks “${field}”`,
  );

/** Without these the user's compiler takes the types for `any`, or fails. */
const undeclared = ({ stage, manifest }: Built): string[] =>
  [...importedByDeclarations(stage)]
    .filter(
      (name) =>
        !isBuiltin(name) &&
        ![name, `@types/${name}`].some((wanted) =>
          [manifest.dependencies, manifest.peerDependencies].some((each) => each && wanted in each),
        ),
    )
    .map(
      (name) =>
        `the declarations import ${name}, which is not a dependency: annotate the type, or depend on it`,
    );

function files(packed: string[]): string[] {
  return [
    ...REQUIRED_FILES.filter((file) => !packed.includes(file)).map((file) => `the tarball lacks ${file}`),
    ...packed
      .filter((file) => !REQUIRED_FILES.includes(file) && !MODULE_OR_MIGRATION.test(file))
      .map((file) => `the tarball holds ${file}, which nobody needs`),
  ];
}

async function types(contents: ReturnType<typeof createPackageFromTarballData>): Promise<string[]> {
  const analysis = await checkPackage(contents);
  if (!analysis.types) return ['Are The Types Wrong finds no types'];
  return analysis.problems
    .filter((problem) => !NOT_SUPPORTED.includes(resolutionOf(problem)))
    .map(
      (problem) => `Are The Types Wrong: ${problem.kind} ${JSON.stringify({ ...problem, kind: undefined })}`,
    );
}

function resolutionOf(problem: Problem): string {
  if ('resolutionKind' in problem) return problem.resolutionKind;
  return 'resolutionOption' in problem ? problem.resolutionOption : '';
}

async function lint(data: Buffer): Promise<string[]> {
  const copy = data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength) as ArrayBuffer;
  const { messages, pkg } = await publint({ pack: { tarball: copy }, level: 'suggestion', strict: true });
  return messages.map((message) => `publint: ${formatMessage(message, pkg, { color: false })}`);
}
