import { expect } from 'chai';
import { query, withDatabase } from '../src/index.ts';

describe('withDatabase', () => {
  const database = withDatabase();

  it('gives a database to a role that owns it', async () => {
    await query(database.url, 'create table things (id int primary key)');
    await query(database.url, 'create schema warren');
    await query(database.url, 'insert into things values ($1)', [1]);

    expect(await database.admin('select id from things')).to.deep.equal([{ id: 1 }]);
  });

  it('gives another, which the first role cannot enter', async () => {
    const another = new URL(await database.another());
    const intruder = new URL(database.url);
    intruder.pathname = another.pathname;

    await query(another.href, 'create table things (id int)');
    const error = await query(intruder.href, 'select 1').catch((failure: Error) => failure);

    expect(error).to.be.an('error').with.property('message').that.includes('permission denied');
  });
});
