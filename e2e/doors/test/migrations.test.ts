import { execFile } from 'node:child_process';
import { readdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { migrate, migrationSql, pendingMigrations } from '@warren/chassis/migrations';
import { withDatabase } from '@warren/testkit';
import { expect } from 'chai';

const run = promisify(execFile);
const DIRECTORY = fileURLToPath(new URL('../node_modules/@warren/chassis/migrations/', import.meta.url));
const COMMAND = fileURLToPath(new URL('../node_modules/.bin/warren-migrate', import.meta.url));

/** A migration that a test can undo: it adds two columns to the inbox. */
const ONE = '006_failures.sql';

/** Runs the command of the package as `npx` does. */
async function command(
  args: string[],
  env: Record<string, string> = {},
): Promise<{ code: number; stdout: string; stderr: string }> {
  const { DATABASE_URL: _, ...rest } = process.env;
  return run(COMMAND, args, { env: { ...rest, ...env } }).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    ({ code, stdout, stderr }) => ({ code, stdout, stderr }),
  );
}

describe("Warren's migrations", function () {
  this.timeout(60_000);
  const database = withDatabase();
  let all: string[];

  before(async () => {
    all = (await readdir(DIRECTORY)).sort();
  });
  beforeEach(async () => {
    await database.admin('drop schema if exists warren cascade');
  });
  const applied = async () =>
    (
      await database.admin<{ name: string }>(
        "select name from warren.migrations where set = 'chassis' order by name",
      )
    ).map(({ name }) => name);
  /** As another migration tool runs it: in one transaction. */
  const runSql = (sql: string) => database.admin(`begin; ${sql}; commit`);
  const columns = () =>
    database.admin(`
      select table_name, column_name, data_type from information_schema.columns
      where table_schema = 'warren' order by table_name, ordinal_position`);

  it('are applied once by the API', async () => {
    expect(await pendingMigrations(database.url)).to.deep.equal(all);
    await Promise.all([migrate(database.url), migrate(database.url)]);
    await migrate(database.url);
    expect(await applied()).to.deep.equal(all);
    expect(await pendingMigrations(database.url)).to.deep.equal([]);
  });

  it('make the same tables as SQL, and migrate() goes on from there', async () => {
    await migrate(database.url);
    const expected = await columns();
    await database.admin('drop schema warren cascade');

    await runSql(await migrationSql());
    expect(await columns()).to.deep.equal(expected);
    expect(await applied()).to.deep.equal(all);

    await database.admin(`
      alter table warren.inbox drop column attempts, drop column failures;
      delete from warren.migrations where name = '${ONE}'`);
    expect(await pendingMigrations(database.adminUrl)).to.deep.equal([ONE]);
    await migrate(database.adminUrl);
    expect(await columns()).to.deep.equal(expected);
  });

  it('are the missing ones as SQL, after migrate() has applied the others', async () => {
    await migrate(database.url);
    const expected = await columns();
    await database.admin(`
      alter table warren.inbox drop column attempts, drop column failures;
      delete from warren.migrations where name = '${ONE}'`);
    const { code, stdout } = await command(['--sql', '--url', database.url]);
    expect(code).to.equal(0);
    expect(stdout).to.contain(`-- chassis/${ONE}`).and.not.contain('create table warren.outbox');
    await runSql(stdout);
    expect(await columns()).to.deep.equal(expected);
    expect(await pendingMigrations(database.url)).to.deep.equal([]);
  });

  it('are checked and applied by the command', async () => {
    const before = await command(['--check', '--url', database.url]);
    expect(before.code).to.equal(1);
    expect(before.stdout.trim().split('\n')).to.deep.equal(all.map((name) => `missing: ${name}`));

    const migrated = await command([], { DATABASE_URL: database.url });
    expect(migrated.code).to.equal(0);
    expect(migrated.stderr).to.contain(`migration applied chassis/${all[0]}`);
    expect(await applied()).to.deep.equal(all);
    expect((await command(['--check', '--url', database.url])).code).to.equal(0);
  });

  it('are printed as SQL without a database', async () => {
    const { code, stdout } = await command(['--sql']);
    expect(code).to.equal(0);
    expect(stdout).to.equal(await migrationSql());
  });

  const MISTAKES: [string, string[], RegExp][] = [
    ['no URL', [], /pass --url, or set DATABASE_URL/],
    ['a URL of something else', ['--url', 'mysql://localhost/x'], /--url must be a URL such as postgres:/],
    ['an unknown option', ['--force'], /'--force'/],
    ['two options that exclude each other', ['--check', '--sql'], /--check or --sql, not both/],
    ['an argument too many', ['now'], /now/],
  ];
  for (const [what, args, message] of MISTAKES)
    it(`refuses ${what} with a sentence, the usage, and exit code 2`, async () => {
      const { code, stdout, stderr } = await command(args);
      expect([code, stdout]).to.deep.equal([2, '']);
      expect(stderr)
        .to.match(message)
        .and.match(/^Usage: warren-migrate/m);
    });

  it('fails with exit code 1, and without a password, when the database is unavailable', async () => {
    const { code, stderr } = await command(['--url', 'postgres://thing:secret@127.0.0.1:1/thing']);
    expect(code).to.equal(1);
    expect(stderr)
      .to.match(/ECONNREFUSED/)
      .and.not.contain('secret');
  });
});
