// The Markdown pages of this checkout, and what is prose in them.
import { files, read } from '../tree.ts';

export const pages = (): string[] => files('{*,{docs,packages,services,charts,e2e,bench,examples}/**/*}.md');

export interface Fence {
  /** Line of the opening fence, from 1. */
  line: number;
  /** What stands behind the three backticks. */
  info: string;
  content: string;
}

export interface Page {
  file: string;
  /** Its lines, those of fences and comments empty. */
  prose: string[];
  fences: Fence[];
}

export function parsePage(file: string): Page {
  const prose: string[] = [];
  const fences: Fence[] = [];
  let open: { fence: Fence; lines: string[] } | undefined;
  for (const [index, line] of read(file).split('\n').entries()) {
    const [, info] = /^\s*```(.*)$/.exec(line) ?? [];
    if (open === undefined && info === undefined) {
      prose.push(line.replace(/<!--.*?-->/g, ''));
      continue;
    }
    prose.push('');
    if (open === undefined) {
      open = { fence: { line: index + 1, info: (info as string).trim(), content: '' }, lines: [] };
    } else if (info === '') {
      fences.push({ ...open.fence, content: open.lines.join('\n') });
      open = undefined;
    } else open.lines.push(line);
  }
  return { file, prose, fences };
}
