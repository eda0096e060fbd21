// The statements of one transaction. What is given in one turn of the event loop leaves in one write with one Sync, and comes back
// in one read: the round trip is the larger part of what a small statement costs, on both sides.
// https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-PIPELINING
import pg from 'pg';
import { forgetNames, nameOf } from './names.ts';

export interface Statement {
  text: string;
  values?: readonly unknown[];
}

/** As far as the chassis reads it. */
export interface Result {
  command: string | null;
  rowCount: number | null;
  // biome-ignore lint/suspicious/noExplicitAny: rows have the shape of their statement
  rows: any[];
  fields?: readonly pg.FieldDef[];
}

/** SQLSTATE in_failed_sql_transaction: another statement of the same transaction failed before this one. */
export const FAILED_BEFORE = '25P02';

/** Of a statement that the server skipped because an earlier one of the same write failed. */
class SkippedError extends Error {
  override readonly name = 'SkippedError';
  readonly code = FAILED_BEFORE;
  constructor(cause: unknown) {
    super('the statement was skipped: an earlier one of its transaction failed', { cause });
  }
}

/** The transaction was rolled back at its COMMIT, because a statement had failed and the error was ignored. */
export class RolledBackError extends Error {
  override readonly name = 'RolledBackError';
  readonly code = FAILED_BEFORE;
  constructor() {
    super('nothing was committed: a statement of the transaction failed, and the error was ignored');
  }
}

interface Waiting extends Statement {
  resolve(result: Result): void;
  reject(error: unknown): void;
}

/** What of a pg.Connection is used here: its types do not name it. */
interface Wire {
  /** Text by name; pg adds a statement when the server has parsed it. */
  parsedStatements: Record<string, string>;
  stream: { writable: boolean; write(bytes: Buffer): unknown };
  parse(message: { text: string; name: string }): void;
  bind(message: { statement: string; values: readonly unknown[] }): void;
  describe(message: { type: 'P'; name: string }): void;
  execute(message: { portal: string }): void;
  sync(): void;
}

interface Columns {
  /** As pg describes them. */
  fields: readonly pg.FieldDef[];
  parsers: readonly ((text: string) => unknown)[];
}

const NO_COLUMNS: Columns = { fields: [], parsers: [] };

/** By the type of a column. */
type ParserOf = (oid: number) => (text: string) => unknown;

/** A pool may have parsers of its own. */
const parserOf =
  (client: pg.ClientBase): ParserOf =>
  (oid) =>
    client.getTypeParser(oid);

const { utils } = pg as unknown as { utils: { prepareValue(value: unknown): unknown } };

/** Columns of the statements that a connection has prepared: PostgreSQL refuses to run one whose columns have changed. */
const prepared = new WeakMap<Wire, Map<string, Columns>>();

/** One write: pg submits it like a query of its own, and hands it the messages that come back. */
class Bundle {
  readonly #statements: readonly Waiting[];
  readonly #parserOf: ParserOf;
  readonly #done: () => void;
  /** What each is prepared under; empty where it is not. */
  readonly #names: readonly string[];
  #known: Map<string, Columns> = new Map();
  /** The statement whose messages come next. */
  #current = 0;
  #columns: Columns | undefined;
  #rows: Record<string, unknown>[] = [];
  #unreadable: unknown;

  constructor(statements: readonly Waiting[], parserOf: ParserOf, done: () => void) {
    this.#statements = statements;
    this.#parserOf = parserOf;
    this.#names = statements.map(({ text }) => nameOf(text) ?? '');
    this.#done = done;
  }

  // pg notes under these, when the server has parsed a statement, that it need not be parsed again.
  get name(): string | undefined {
    return this.#names[this.#current];
  }

  get text(): string | undefined {
    return this.#statements[this.#current]?.text;
  }

  submit(wire: Wire): void {
    const chunks: Buffer[] = [];
    // A write a message would cost more than all of the rest.
    const gathering: Wire = Object.create(wire, { _send: { value: (bytes: Buffer) => chunks.push(bytes) } });
    const parsing = new Set<string>();
    this.#known = prepared.get(wire) ?? new Map();
    prepared.set(wire, this.#known);
    for (const [i, { text, values = [] }] of this.#statements.entries()) {
      const name = this.#names[i] as string;
      if (name === '' || (wire.parsedStatements[name] === undefined && !parsing.has(name)))
        gathering.parse({ text, name });
      parsing.add(name);
      gathering.bind({ statement: name, values });
      if (!this.#known.has(name)) gathering.describe({ type: 'P', name: '' });
      gathering.execute({ portal: '' });
    }
    gathering.sync();
    // A connection that has ended fails what it was given.
    if (wire.stream.writable) wire.stream.write(Buffer.concat(chunks));
  }

  handleRowDescription({ fields }: { fields: pg.FieldDef[] }): void {
    this.#columns = { fields, parsers: fields.map(({ dataTypeID }) => this.#parserOf(dataTypeID)) };
  }

  handleDataRow({ fields }: { fields: (string | null)[] }): void {
    const columns = this.#currentColumns();
    const row: Record<string, unknown> = {};
    try {
      for (const [i, { name }] of columns.fields.entries()) {
        const text = fields[i] ?? null;
        row[name] = text === null ? null : columns.parsers[i]?.(text);
      }
      this.#rows.push(row);
    } catch (error) {
      this.#unreadable ??= error;
    }
  }

  handleCommandComplete({ text }: { text: string }): void {
    // e.g. `INSERT 0 5`, `UPDATE 5`, `COMMIT`
    const words = text.split(' ');
    const count = Number(words.at(-1));
    this.#next(words[0] ?? null, Number.isNaN(count) ? null : count);
  }

  handleEmptyQuery(): void {
    this.#next(null, null);
  }

  handleError(error: unknown): void {
    const [failed, ...skipped] = this.#statements.slice(this.#current);
    forgetNames(error);
    failed?.reject(error);
    for (const { reject } of skipped) reject(new SkippedError(error));
    this.#done();
  }

  handleReadyForQuery(): void {
    this.#done();
  }

  #currentColumns(): Columns {
    return this.#columns ?? this.#known.get(this.name ?? '') ?? NO_COLUMNS;
  }

  #next(command: string | null, rowCount: number | null): void {
    const statement = this.#statements[this.#current];
    // Without a description it has none to give.
    if (this.name && !this.#known.has(this.name)) this.#known.set(this.name, this.#columns ?? NO_COLUMNS);
    if (this.#unreadable === undefined)
      statement?.resolve({ command, rowCount, rows: this.#rows, fields: this.#currentColumns().fields });
    else statement?.reject(this.#unreadable);
    this.#current += 1;
    this.#columns = undefined;
    this.#rows = [];
    this.#unreadable = undefined;
  }
}

export class Pipeline {
  readonly #client: pg.ClientBase;
  #waiting: Waiting[] = [];
  #isScheduled = false;
  #isInFlight = false;

  constructor(client: pg.ClientBase) {
    this.#client = client;
  }

  /** Sends a statement together with the others of this turn; rejects with PostgreSQL's error. */
  run(statement: Statement): Promise<Result> {
    const running = this.add(statement);
    if (!this.#isScheduled && !this.#isInFlight) {
      this.#isScheduled = true;
      // After all microtasks of this turn: code that waited for a result has then run its next statement.
      process.nextTick(() => this.#send());
    }
    return running;
  }

  /** Has a statement sent with the next one that is run. */
  add({ text, values = [] }: Statement): Promise<Result> {
    return new Promise((resolve, reject) => {
      // Here, so that a value that cannot be written fails its own statement alone.
      const prepared = values.map(utils.prepareValue);
      this.#waiting.push({ text, values: prepared, resolve, reject });
    });
  }

  #send(): void {
    this.#isScheduled = false;
    const statements = this.#waiting;
    this.#waiting = [];
    this.#isInFlight = true;
    const bundle = new Bundle(statements, parserOf(this.#client), () => {
      this.#isInFlight = false;
      if (this.#waiting.length === 0 || this.#isScheduled) return;
      this.#isScheduled = true;
      process.nextTick(() => this.#send());
    });
    this.#client.query(bundle as unknown as pg.Submittable);
  }
}
