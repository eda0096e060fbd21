// The files that a page of the docs shows in full: a line with the path in backquotes, then a fence.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { root } from '../../../../scripts/tree.ts';

/** By path. */
export function filesOf(page: string): Map<string, string> {
  const text = readFileSync(join(root, page), 'utf8');
  return new Map(
    [...text.matchAll(/^`([\w./-]+)`.*\n```\w+\n([\s\S]*?)^```$/gm)].map(([, path, content]) => [
      path as string,
      content as string,
    ]),
  );
}

export function writeAll(directory: string, files: Iterable<readonly [path: string, content: string]>): void {
  for (const [path, content] of files) {
    mkdirSync(dirname(join(directory, path)), { recursive: true });
    writeFileSync(join(directory, path), content);
  }
}
