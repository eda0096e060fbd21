// Code that a page quotes: a fence that names its file, e.g. ```ts services/order/src/saga.ts, holds lines of that file.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { read, root } from '../tree.ts';
import type { Fence, Page } from './markdown.ts';

/** Something is left out here. */
const OMISSION = /^(\/\/ |-- |# )?…$/;

export function snippetFaults(pages: readonly Page[]): string[] {
  return pages.flatMap(({ file, fences }) =>
    fences.flatMap((fence) => {
      const [, source] = /^\w+ (\S+\/\S+)$/.exec(fence.info) ?? [];
      if (source === undefined) return [];
      const where = `${file}:${fence.line} quotes ${source}`;
      if (!existsSync(join(root, source))) return [`${where}: the file does not exist`];
      const missing = missingLine(fence, linesOf(read(source)));
      return missing === undefined ? [] : [`${where}, which does not have: ${missing}`];
    }),
  );
}

/** The first line of the first part that the source does not have, after the parts before it; indentation aside. */
function missingLine({ content }: Fence, source: string[]): string | undefined {
  let from = 0;
  for (const part of partsOf(linesOf(content))) {
    const at = source.findIndex(
      (_, index) => index >= from && part.every((line, offset) => source[index + offset] === line),
    );
    if (at < 0) return part.find((line) => !source.includes(line, from)) ?? part[0];
    from = at + part.length;
  }
  return undefined;
}

const linesOf = (text: string): string[] =>
  text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');

function partsOf(lines: string[]): string[][] {
  const parts: string[][] = [[]];
  for (const line of lines) {
    if (OMISSION.test(line)) parts.push([]);
    else parts.at(-1)?.push(line);
  }
  return parts.filter((part) => part.length > 0);
}
