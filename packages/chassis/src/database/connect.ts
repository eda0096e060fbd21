// What every connection to PostgreSQL has in common, whoever opens it: pool, relay or migration.
import type pg from 'pg';
import { ConnectError } from './outage.ts';

/**
 * What the text form of values depends on, which the client parses and the code relies on: a role, a database or a server may
 * have other defaults. Statements, not start-up parameters, which poolers refuse; PgBouncer keeps those that it is told of.
 */
export const SESSION_SETTINGS = `
  set datestyle = 'ISO, MDY'; set intervalstyle = 'postgres'; set timezone = 'UTC'; set bytea_output = 'hex';
  set extra_float_digits = 1; set client_encoding = 'UTF8'; set standard_conforming_strings = on`;

/**
 * Connects a client of one's own.
 * @throws {ConnectError} for whatever reason there is no connection
 */
export async function connectClient(client: pg.Client): Promise<void> {
  try {
    await client.connect();
    await client.query(SESSION_SETTINGS);
  } catch (error) {
    throw new ConnectError(error);
  }
}
