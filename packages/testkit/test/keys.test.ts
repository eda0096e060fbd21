import { type CloudEvent, defineEvent, Joi } from '@warren/events';
import { expect } from 'chai';
import { eventually, holdCommits, message, query, withDatabase, withKeys } from '../src/index.ts';

const noteWritten = defineEvent<{ locks: string }>({
  type: 'note.written',
  version: 1,
  data: { locks: Joi.string().required() },
});
const note = (subject: string, locks: string) => message(noteWritten, { locks }, { subject });

describe('events that meet in a database', () => {
  const database = withDatabase();
  const failures: unknown[] = [];

  const service = { name: 'note', handlers: { 'note.note.written': async () => {} } };
  /** In place of a service: one transaction an event, which changes the row that its data names. */
  const broker = {
    async publish(_exchange: string, _key: string, content: object | string) {
      const { id, data }: CloudEvent<{ locks: string }> = JSON.parse(String(content));
      query(
        database.url,
        `begin; insert into warren.inbox values ('${id}'); update notes set n = n + 1 where id = '${data.locks}'; commit`,
      ).catch((error) => failures.push(error));
    },
  };
  const keys = withKeys({ service, broker, database });

  before(() =>
    query(
      database.url,
      `create schema warren; create table warren.inbox (message_id uuid primary key);
       create table notes (id text primary key, n int not null); insert into notes values ('a', 0), ('b', 0)`,
    ),
  );
  afterEach(() => expect(failures).to.deep.equal([]));

  keys.itKeepsApart('two that lock their own row', () => [note('a', 'a'), note('b', 'b')]);
  keys.itOrders('two that lock one row', () => [note('a', 'a'), note('a', 'a')]);

  it('wait where one locks outside its key, in either order', async () => {
    expect(await keys.waits(note('a', 'a'), note('b', 'a'))).to.equal(true);
    expect(await keys.waits(note('b', 'a'), note('a', 'a'))).to.equal(true);
  });

  it('have all been committed in the end', async () => {
    expect(await database.admin('select id, n from notes order by id')).to.deep.equal([
      { id: 'a', n: 7 },
      { id: 'b', n: 1 },
    ]);
  });
});

describe('holdCommits', () => {
  const database = withDatabase();

  it('holds the transaction of one row, and no other', async () => {
    await query(database.url, 'create table things (id text)');
    const hold = await holdCommits(database.adminUrl, { table: 'things', column: 'id' });
    const held = await hold('one');
    expect(await held.isReached()).to.equal(false);
    const inserted = query(database.url, `insert into things values ('one')`);
    await eventually(held.isReached);
    expect(await held.isWaitedFor()).to.equal(false);
    await query(database.url, `insert into things values ('other')`);
    expect(await database.admin('select id from things')).to.deep.equal([{ id: 'other' }]);
    await held.release();
    await inserted;
    expect(await database.admin('select id from things')).to.have.length(2);
  });
});
