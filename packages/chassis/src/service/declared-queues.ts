import { sql } from 'kysely';
import type { Logger } from '../context.ts';
import type { Database } from '../database/database.ts';
import { whenAvailable } from './when-available.ts';

/**
 * Whether the queues of a service were ever declared on the broker. A queue keeps its events from its first declaration on; before it,
 * events are lost to this service, so it is not ready.
 */
export class DeclaredQueues {
  readonly #names: readonly string[];
  readonly #database: Database<unknown>;
  readonly #log: Logger;
  readonly #stopping: AbortSignal;
  #areDeclared: boolean;

  /** @param stopping ends the waiting for the database */
  constructor(names: readonly string[], database: Database<unknown>, log: Logger, stopping: AbortSignal) {
    this.#names = names;
    this.#database = database;
    this.#log = log;
    this.#stopping = stopping;
    this.#areDeclared = names.length === 0;
  }

  get areDeclared(): boolean {
    return this.#areDeclared;
  }

  /** Finds out whether an earlier process declared them. */
  async load(): Promise<void> {
    if (this.#areDeclared) return;
    const { rows } = await sql<{ name: string }>`select name from warren.queues`.execute(
      this.#database.kysely,
    );
    const known = new Set(rows.map(({ name }) => name));
    this.#areDeclared = this.#names.every((name) => known.has(name));
  }

  /** Stores that they are declared now; waits for the database. */
  async remember(): Promise<void> {
    if (this.#areDeclared) return;
    await whenAvailable(() => this.#insert(), { log: this.#log, signal: this.#stopping });
    this.#areDeclared = true;
  }

  async #insert(): Promise<void> {
    for (const name of this.#names)
      await sql`insert into warren.queues (name) values (${name}) on conflict do nothing`.execute(
        this.#database.kysely,
      );
  }
}
