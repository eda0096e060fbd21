// The report of a package: its entry points, what each exports, and the types that those name.
import { existsSync, globSync } from 'node:fs';
import { join } from 'node:path';
import type { Built } from '../pack.ts';
import { Declarations, type Declared } from './declarations.ts';

/** Markdown. Comments are left out: a better sentence about a function does not change its users. */
export function reportOf({ name, stage, manifest }: Built): string {
  const declarations = new Declarations();
  const entries = entryPoints(stage, manifest.exports);
  const exported = entries.map(({ path, types }) => ({ path, names: declarations.exportsOf(types) }));
  const parts = exported.map(({ path, names }) =>
    section(
      join(name, path),
      [...names.entries()].sort(byName).map(([exportedAs, found]) => signature(exportedAs, found)),
    ),
  );
  const internal = declarations.namedBy(exported.flatMap(({ names }) => [...names.values()]));
  return [
    `# The public surface of ${name}`,
    'Generated from the declarations by `make docs`. [Versions and support](../versions.md) says what a change of it means.',
    ...parts,
    ...(internal.length === 0
      ? []
      : ['## Named by these, but not exported', block(internal.map(({ text }) => text))]),
    ...files(manifest.exports),
  ]
    .join('\n\n')
    .concat('\n');
}

interface EntryPoint {
  /** `.` or `./outbox`. */
  path: string;
  /** The file with its declarations. */
  types: string;
}

/** Those with types; a pattern (`./adapters/*`) counts once for each file that it fits. */
function entryPoints(stage: string, exports: Record<string, unknown>): EntryPoint[] {
  return Object.entries(exports).flatMap(([path, target]) => {
    const types = (target as { types?: string } | null)?.types;
    if (types === undefined) return [];
    // A missing file is publint's to report.
    if (!types.includes('*'))
      return existsSync(join(stage, types)) ? [{ path, types: join(stage, types) }] : [];
    const [before = '', after = ''] = types.split('*');
    return globSync(types, { cwd: stage })
      .sort()
      .map((file) => ({
        path: path.replace('*', `./${file}`.slice(before.length, -after.length || undefined)),
        types: join(stage, file),
      }));
  });
}

const byName = ([a]: [string, unknown], [b]: [string, unknown]) => (a < b ? -1 : 1);

function signature(exportedAs: string, found: Declared): string {
  if (found.from !== undefined) {
    const name = found.name === exportedAs ? exportedAs : `${found.name} as ${exportedAs}`;
    return `export { ${name} } from '${found.from}';`;
  }
  return found.name === exportedAs ? found.text : `${found.text}\nexport { ${found.name} as ${exportedAs} };`;
}

const section = (title: string, signatures: string[]) => `## ${title}\n\n${block(signatures)}`;

const block = (signatures: string[]) => `\`\`\`ts\n${signatures.join('\n\n')}\n\`\`\``;

/** Exports that are files, not modules: migrations. */
function files(exports: Record<string, unknown>): string[] {
  const targets = Object.entries(exports).filter(([, target]) => typeof target === 'string');
  if (targets.length === 0) return [];
  return ['## Files', targets.map(([path, target]) => `- \`${path}\`: \`${target}\``).join('\n')];
}
