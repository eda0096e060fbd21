// Settings of every connection to PostgreSQL: of the pools, of the relay, and of migrations.
import type pg from 'pg';
import { ConnectError } from './outage.ts';

/**
 * Settings that the text form of values depends on, which the client parses: a role, a database or a server may have other
 * defaults. They are set by statements, because poolers refuse start-up parameters; PgBouncer keeps those that it tracks.
 */
export const SESSION_SETTINGS = `
  set datestyle = 'ISO, MDY'; set intervalstyle = 'postgres'; set timezone = 'UTC'; set bytea_output = 'hex';
  set extra_float_digits = 1; set client_encoding = 'UTF8'; set standard_conforming_strings = on`;

/**
 * Connects a client that is not of a pool.
 * @throws {ConnectError} if that fails, for any reason
 */
export async function connectClient(client: pg.Client): Promise<void> {
  try {
    await client.connect();
    await client.query(SESSION_SETTINGS);
  } catch (error) {
    throw new ConnectError(error);
  }
}
