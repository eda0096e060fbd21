// Words that readers stumble over, in the texts that users see: pages, the strings of the source (problems, log lines, OpenAPI),
// and the charts' values and notes. Only words that are wrong in every sense are listed; CONTRIBUTING.md has the rest.
import { parseSync } from 'oxc-parser';
import { files, read } from '../tree.ts';
import type { Page } from './markdown.ts';

interface Word {
  pattern: RegExp;
  instead: string;
}

const WORDS: readonly Word[] = [
  // A consumer subscribes; nothing on a broker has ears.
  { pattern: /\b(hears?|heard|hearing)\b/i, instead: 'consume, subscribe' },
  // "X is no Y" is rare in English. "There is no Y" is usual, and so is "is no longer".
  {
    pattern: /(?<!\bthere )\b(is|are|was|were) no (?!longer\b|more\b)\w/i,
    instead: 'is not, missing, invalid',
  },
  // A subject has a name.
  { pattern: /\bwho(so)?ever\b/i, instead: 'the name of the caller, user or service' },
  { pattern: /\bmend(s|ed|ing)?\b/i, instead: 'fix' },
  // People are away; servers are unavailable.
  { pattern: /\b(is|are|was|were|be|been|being) away\b/i, instead: 'unavailable' },
  { pattern: /\b(farewell|last words)\b/i, instead: 'close handshake, shutdown' },
  { pattern: /\bin hand\b/i, instead: 'in flight' },
  // Of a message: nack, requeue. Of a lock or connection: release. Of money: refund.
  { pattern: /\b(gives?|given|gave|giving) (it |them )?back\b/i, instead: 'nack, requeue, release; refund' },
  // An inverted condition reads as a question.
  {
    pattern: /(^|[.;:,] )(Should|Were|Had|Was) (it|the|a|an|one|they|there|this|that|somebody)\b[^?.]*,/,
    instead: 'if …',
  },
];

export function wordFaults(pages: readonly Page[]): string[] {
  return [
    ...pages.flatMap(({ file, prose }) =>
      prose.flatMap((line, index) => faultsOf(`${file}:${index + 1}`, line.replace(/`[^`]*`/g, '``'))),
    ),
    ...files('charts/**/*.{yaml,tpl,txt}').flatMap(inLines),
    // The strings of mutants are pieces of code.
    ...files('{{packages,services}/*/src/**/*,scripts/{*,!(mutants)/**/*}}.ts').flatMap(inStrings),
  ];
}

const inLines = (file: string): string[] =>
  read(file)
    .split('\n')
    .flatMap((line, index) => faultsOf(`${file}:${index + 1}`, line));

/** In the strings and templates of a source file, which become problems, log lines and documents. */
function inStrings(file: string): string[] {
  const source = read(file);
  const found: string[] = [];
  const visit = (node: unknown): void => {
    if (typeof node !== 'object' || node === null) return;
    const { type, start, value } = node as Node;
    const text =
      type === 'TemplateElement' ? (value as { raw: string }).raw : type === 'Literal' ? value : '';
    if (typeof text === 'string' && text.includes(' '))
      found.push(...faultsOf(`${file}:${source.slice(0, start).split('\n').length}`, text));
    for (const child of Object.values(node)) visit(child);
  };
  visit(parseSync(file, source).program);
  return found;
}

interface Node {
  type: string;
  start: number;
  value?: unknown;
}

const faultsOf = (where: string, text: string): string[] =>
  WORDS.flatMap(({ pattern, instead }) => {
    const found = pattern.exec(text)?.[0];
    return found === undefined ? [] : [`${where} says “${found.trim()}”: ${instead}`];
  });
