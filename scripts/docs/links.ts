// Relative links of Markdown pages: the file exists, and so does the heading.
import { existsSync, statSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { root } from '../tree.ts';
import { type Page, parsePage } from './markdown.ts';

export function linkFaults(pages: readonly Page[]): string[] {
  const anchors = new Map(pages.map((page) => [page.file, anchorsOf(page)]));
  return pages.flatMap(({ file, prose }) =>
    prose.flatMap((line, index) =>
      [...line.replace(/`[^`]*`/g, '').matchAll(/\]\(([^)\s]+)\)/g)].flatMap(([, link]) => {
        const fault = faultOf(file, link as string, anchors);
        return fault === undefined ? [] : [`${file}:${index + 1} links to ${link}: ${fault}`];
      }),
    ),
  );
}

function faultOf(from: string, link: string, anchors: Map<string, Set<string>>): string | undefined {
  if (/^[a-z]+:/.test(link)) return undefined; // of other sites
  const [path = '', anchor] = link.split('#');
  const target = path === '' ? from : normalize(join(dirname(from), path)).replace(/\/$/, '');
  if (!existsSync(join(root, target))) return 'the file does not exist';
  if (anchor === undefined || statSync(join(root, target)).isDirectory() || !target.endsWith('.md'))
    return undefined;
  const known = anchors.get(target) ?? anchorsOf(parsePage(target));
  return known.has(anchor) ? undefined : 'the page has no such heading';
}

/** The ids that GitHub gives to headings; of two with one text the second ends in -1. */
function anchorsOf({ prose }: Page): Set<string> {
  const found = new Set<string>();
  for (const line of prose) {
    const [, heading] = /^#{1,6} (.*)$/.exec(line) ?? [];
    if (heading === undefined) continue;
    const slug = heading
      .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .trim()
      .replaceAll(' ', '-');
    let name = slug;
    for (let number = 1; found.has(name); number += 1) name = `${slug}-${number}`;
    found.add(name);
  }
  return found;
}
