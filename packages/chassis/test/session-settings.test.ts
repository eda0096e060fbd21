import { client, eventually, withBroker, withDatabase } from '@warren/testkit';
import { expect } from 'chai';
import { sql } from 'kysely';
import pg from 'pg';
import { connectClient } from '../src/database/connect.ts';
import { openDatabase } from '../src/database/database.ts';
import { newId } from '../src/id.ts';
import { start } from '../src/service/start.ts';
import { silent } from './fixtures/relay.ts';
import { alpha, written } from './fixtures/services.ts';

/** Defaults of a database that another one of the server may well need. */
const FOREIGN = {
  datestyle: "'German'",
  intervalstyle: "'sql_standard'",
  timezone: "'Asia/Kathmandu'",
  bytea_output: "'escape'",
  extra_float_digits: '-10',
  standard_conforming_strings: 'off',
};
const VALUES = `
  select timestamptz '2026-01-31 12:00:00.5+00' as instant, date '2026-01-31' as day, interval '1 day 02:03:04' as span,
         '\\\\x00ff'::bytea as bytes, 0.1::float8 + 0.2::float8 as number`.replaceAll('\\\\', '\\');

describe('a database with other defaults', function () {
  this.timeout(60_000);
  const broker = withBroker({ services: ['alpha'] });
  const database = withDatabase();

  before(async () => {
    for (const [name, value] of Object.entries(FOREIGN))
      await database.admin(`alter database "${database.name}" set ${name} = ${value}`);
  });

  const expected = (row: Record<string, unknown>) => {
    expect((row.instant as Date).toISOString()).to.equal('2026-01-31T12:00:00.500Z');
    expect((row.day as Date).getFullYear()).to.equal(2026);
    expect(row.span).to.include({ days: 1, hours: 2, minutes: 3, seconds: 4 });
    expect((row.bytes as Buffer).toString('hex')).to.equal('00ff');
    expect(row.number).to.equal(0.1 + 0.2);
  };

  it('gives a pool the values that it has', async () => {
    const opened = openDatabase<unknown>({ url: database.url, connections: 2, name: 'test', log: silent });
    try {
      const { rows } = await sql.raw<Record<string, unknown>>(VALUES).execute(opened.kysely);
      expected(rows[0] as Record<string, unknown>);
    } finally {
      await opened.close();
    }
  });

  it('gives a client of its own, as the relay has one, the values that it has', async () => {
    const own = new pg.Client({ connectionString: database.url });
    await connectClient(own);
    try {
      expected((await own.query(VALUES)).rows[0]);
    } finally {
      await own.end();
    }
  });

  it('serves requests, and publishes their events', async () => {
    const probe = await broker.probe('events');
    const service = await start(alpha, {
      PORT: '0',
      ADMIN_PORT: '0',
      LOG_LEVEL: 'silent',
      AMQP_URL: broker.url('alpha'),
      DATABASE_URL: database.url,
    });
    try {
      await eventually(() => expect(service.ready()).to.equal(true), { timeout: 30_000 });
      const { status } = await client(service.url).post('/notes', { id: newId(), text: 'x' });
      expect(status).to.equal(201);
      await probe.waitFor({ type: written.type }, { timeout: 30_000 });
    } finally {
      await service.stop();
      await probe.close();
    }
  });
});
