import { expect } from 'chai';
import { type Change, eventually, query, watchTransactions, withDatabase } from '../src/index.ts';

describe('watchTransactions', () => {
  const database = withDatabase();

  it('reports what each commit has written, and no rollback', async () => {
    await query(database.url, 'create schema other');
    await query(database.url, 'create table things (id int); create table other.notes (text text)');
    const seen: Change[][] = [];
    const watch = await watchTransactions(database.adminUrl, (changes) => seen.push(changes));

    const before = Date.now();
    await query(
      database.url,
      "begin; insert into things values (1); insert into other.notes values ('a'); commit",
    );
    await query(database.url, 'begin; insert into things values (2); rollback');
    await query(database.url, 'update things set id = 3');
    await query(database.url, 'delete from things');

    await eventually(() => expect(seen).to.have.length(3));
    expect(seen[0]).to.deep.equal([
      { operation: 'insert', table: 'things', row: { id: '1' } },
      { operation: 'insert', table: 'other.notes', row: { text: 'a' } },
    ]);
    expect(seen[1]).to.deep.equal([{ operation: 'update', table: 'things', row: { id: '3' } }]);
    expect(seen[2]).to.deep.equal([{ operation: 'delete', table: 'things', row: { id: '3' } }]);
    expect(Date.now() - before).to.be.below(5_000);

    await watch.close();
    await query(database.url, 'insert into things values (3)');
    expect(await database.admin("select 1 from pg_namespace where nspname = 'warren_watch'")).to.have.length(
      0,
    );
  });
});
