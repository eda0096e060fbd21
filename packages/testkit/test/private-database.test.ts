import { expect } from 'chai';
import { query, withDatabase } from '../src/index.ts';

describe('a private database server', () => {
  const database = withDatabase({ private: true });

  before(() => query(database.url, 'create table things (how text)'));

  for (const how of ['kill', 'stop'] as const) {
    it(`is away after ${how}(), and back after start() with what was committed`, async function () {
      this.timeout(60_000);
      await query(database.url, 'insert into things values ($1)', [how]);

      await database[how]();
      const refused = await query(database.url, 'select 1').catch((error: Error) => error);
      await database.start();

      expect(refused).to.be.an('error');
      expect(await query(database.url, 'delete from things returning how')).to.deep.equal([{ how }]);
    });
  }
});
