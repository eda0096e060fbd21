// The pages: links lead somewhere, quoted code is in its file, and no listed word is in a text that users see.
import { linkFaults } from './docs/links.ts';
import { pages, parsePage } from './docs/markdown.ts';
import { snippetFaults } from './docs/snippets.ts';
import { wordFaults } from './docs/words.ts';

export function checkDocs(): string[] {
  const parsed = pages().map(parsePage);
  return [...linkFaults(parsed), ...snippetFaults(parsed), ...wordFaults(parsed)];
}
