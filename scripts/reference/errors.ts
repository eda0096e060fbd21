// The catalogue of the chassis's errors, and whether the page has every code of the source.
import { STATUS_CODES } from 'node:http';
import { parseSync } from 'oxc-parser';
import { catalogue } from '../../packages/chassis/src/errors.ts';
import { files, read } from '../tree.ts';
import { code, table } from './table.ts';

export const errorTables = (): Record<string, string> => ({
  errors: table(
    ['code', 'cause', 'remedy'],
    Object.entries(catalogue).map(([name, { cause, remedy }]) => [code(name), cause, remedy]),
  ),
});

/** Where the page and the source differ: codes that the page lacks, and codes of its tables that no source file has. */
export function codeFaults(page: string): string[] {
  const sources = files('{packages/*,services/*}/src/**/*.ts');
  const known = new Set([...page.matchAll(/`([a-z_]+)`/g)].map(([, name]) => name));
  const missing = sources.flatMap((file) =>
    [...codesOf(file)]
      .filter((name) => !known.has(name))
      .map((name) => `docs/reference/errors.md does not have the code ${name} of ${file}`),
  );
  const text = sources.map(read).join('\n');
  const stale = listedCodes(page)
    .filter((name) => !STATUS_NAMES.has(name) && !text.includes(`'${name}'`) && !(name in catalogue))
    .map((name) => `docs/reference/errors.md has the code ${name}, which no source file has`);
  return [...missing, ...stale];
}

/** Problems without a code of their own have the name of their status. */
const STATUS_NAMES = new Set(
  Object.values(STATUS_CODES).map((name) => (name ?? '').toLowerCase().replace(/[^a-z]+/g, '_')),
);

/** The codes in the first cell of a row, or in the second after a status. */
const listedCodes = (page: string): string[] =>
  [...page.matchAll(/^\| (?:\d{3} \| )?(`[a-z_]+`(?:, `[a-z_]+`)*) \|/gm)].flatMap(([, cell]) =>
    [...(cell as string).matchAll(/[a-z_]+/g)].map(String),
  );

/** Of every property `code: '…'`. */
function codesOf(file: string): Set<string> {
  const found = new Set<string>();
  const visit = (node: unknown): void => {
    if (typeof node !== 'object' || node === null) return;
    const { type, key, value } = node as Node;
    const text = type === 'Property' && key?.name === 'code' ? value?.value : undefined;
    if (typeof text === 'string' && /^[a-z_]+$/.test(text)) found.add(text);
    for (const child of Object.values(node)) visit(child);
  };
  visit(parseSync(file, read(file)).program);
  return found;
}

interface Node {
  type: string;
  key?: { name?: string };
  value?: { value?: unknown };
}
