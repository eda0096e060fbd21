import { sql } from 'drizzle-orm';
import { drizzle } from 'drizzle-orm/node-postgres';
import { pgTable, text, uuid } from 'drizzle-orm/pg-core';
import pg from 'pg';

export const things = pgTable('things', { id: uuid().primaryKey(), name: text().notNull() });

export function openDatabase(url: string) {
  const pool = new pg.Pool({ connectionString: url });
  return { db: drizzle(pool), pool };
}

export type Database = ReturnType<typeof openDatabase>['db'];

/** A real application has migrations of its own. */
export const createTables = (db: Database) =>
  db.execute(sql`create table if not exists things (id uuid primary key, name text not null)`);
