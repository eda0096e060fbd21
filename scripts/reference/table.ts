// Tables in Markdown.

export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map(escaped).join(' | ')} |`;
  return [line(head), `|${'---|'.repeat(head.length)}`, ...rows.map(line)].join('\n');
}

/** As code; nothing where there is nothing. */
export const code = (text: string | undefined): string => (text === undefined ? '' : `\`${text}\``);

export const codes = (texts: readonly string[]): string => texts.map(code).join(', ');

/** A pipe ends a cell, and a line feed the row. */
const escaped = (cell: string) => cell.replaceAll('|', '\\|').replaceAll('\n', ' ');
