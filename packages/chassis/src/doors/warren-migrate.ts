#!/usr/bin/env node
// The command `warren-migrate`: creates or updates Warren's tables, checks them, or prints their SQL.
import { parseArgs } from 'node:util';
import { asError } from '../errors.ts';
import { maskCredentials } from '../redact.ts';
import { migrate, migrationSql, pendingMigrations } from './migrations.ts';

const USAGE = `Usage: warren-migrate [--url URL] [--check | --sql]

Creates or updates Warren's tables (the schema warren) in a PostgreSQL database.
  --url URL   postgres://user:password@host:5432/database; default: the environment variable DATABASE_URL
  --check     only list the migrations that the database lacks; exit code 1 if there are any
  --sql       only print the migrations as SQL, to be run in one transaction; with --url those that the database lacks
`;

/** Bad arguments: a sentence, and exit code 2. */
class UsageError extends Error {}

const log = {
  debug: () => {},
  info: (fields: object | string, message?: string) => console.error(lineOf(fields, message)),
  warn: (fields: object | string, message?: string) => console.error(lineOf(fields, message)),
  error: (fields: object | string, message?: string) => console.error(lineOf(fields, message)),
};

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  console.error(`warren-migrate: ${maskCredentials(asError(error).message)}`);
  if (error instanceof UsageError) console.error(`\n${USAGE}`);
  process.exitCode = error instanceof UsageError ? 2 : 1;
}

async function main(given: string[]): Promise<number> {
  const { url, check, sql, help } = optionsOf(given);
  if (help) console.log(USAGE);
  else if (check) return await printMissing(databaseUrlOf(url));
  else if (sql) process.stdout.write(await migrationSql(await namesFor(url)));
  else await migrate(databaseUrlOf(url), { log });
  return 0;
}

interface Options {
  url?: string | undefined;
  check?: boolean | undefined;
  sql?: boolean | undefined;
  help?: boolean | undefined;
}

function optionsOf(args: string[]): Options {
  try {
    const { values } = parseArgs({
      args,
      options: {
        url: { type: 'string' },
        check: { type: 'boolean' },
        sql: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    });
    if (values.check && values.sql) throw new UsageError('give --check or --sql, not both');
    return values;
  } catch (error) {
    throw new UsageError(asError(error).message);
  }
}

function databaseUrlOf(given: string | undefined): string {
  const url = given ?? process.env.DATABASE_URL;
  const name = given === undefined ? 'DATABASE_URL' : '--url';
  if (url === undefined || url === '') throw new UsageError('pass --url, or set DATABASE_URL');
  if (!/^postgres(ql)?:\/\//i.test(url) || !URL.canParse(url))
    throw new UsageError(`${name} must be a URL such as postgres://user:password@host:5432/database`);
  return url;
}

/** Without a URL, all of them. */
async function namesFor(url: string | undefined): Promise<string[] | undefined> {
  return url === undefined ? undefined : pendingMigrations(databaseUrlOf(url));
}

async function printMissing(url: string): Promise<number> {
  const missing = await pendingMigrations(url);
  for (const name of missing) console.log(`missing: ${name}`);
  if (missing.length === 0) console.log('the database has all migrations');
  return missing.length === 0 ? 0 : 1;
}

function lineOf(fields: object | string, message?: string): string {
  return typeof fields === 'string' ? fields : `${message} ${Object.values(fields).join(' ')}`;
}
