import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { checkout } from '../../../scripts/copy.ts';

const ALTERED = /^\s*(?:alter table|create (?:unique )?index \w+ on)\s+(?:only\s+)?([\w.]+)/gim;
const CREATED = /^\s*create table\s+([\w.]+)/gim;

/** Tables that are altered, of those that were there before. */
function tablesOf(sql: string): string[] {
  const found = (pattern: RegExp) => [...sql.matchAll(pattern)].map(([, table]) => table as string);
  const created = found(CREATED);
  return [...new Set(found(ALTERED))].filter((table) => !created.includes(table));
}

describe('a migration', () => {
  it('that alters two tables is found', () => {
    const sql =
      'create table c ();\nalter table c add d int;\nalter table a add b int;\ncreate index i on b (c);';
    expect(tablesOf(sql)).to.deep.equal(['a', 'b']);
  });

  for (const file of globSync('{packages,services}/*/migrations/*.sql', { cwd: checkout }).sort())
    it(`alters one table: ${file}`, () => {
      expect(tablesOf(readFileSync(join(checkout, file), 'utf8'))).to.have.length.at.most(1);
    });
});
