// ISOLATING, a state of the relay: the broker has closed the channel over one of the events in flight, and does not say over which.
// They are published one by one, up to the end of the outbox. An event that the broker refuses while it accepts others can never be
// published: it is parked. If it accepts none, the fault is the broker's (its permissions, a missing exchange), and none is parked.
import type { Log } from '../context.ts';
import type { PublishError, Publisher } from '../messaging/publisher.ts';
import type { Holds } from './holds.ts';
import { BYTES_LIMIT, IN_FLIGHT_LIMIT, type PublishRow, READ_LIMIT, type RelayHooks } from './publish.ts';
import type { OutboxReader, Row } from './reader.ts';

export interface IsolationOptions {
  reader: OutboxReader;
  publish: PublishRow;
  /** Opens the next publisher. */
  open: () => Promise<Publisher>;
  holds: Holds;
  stopping: AbortSignal;
  log: Log;
  hooks: RelayHooks;
}

export interface Isolated {
  /** The publisher to go on with: a refusal closes the one that it hits. */
  publisher: Publisher;
  /** The broker refuses every event: the first refusal. */
  refusal?: PublishError;
}

/** Refused routing keys without an accepted event after which the broker counts as refusing every event. */
const REFUSED_KEYS_LIMIT = 100;
/** Events to examine, at most, until one is accepted. */
const EXAMINED_LIMIT = 100_000;

export class Isolation {
  readonly #options: IsolationOptions;
  readonly #refused: { row: Row; error: PublishError }[] = [];
  /** Aggregates whose later events wait: one of theirs is refused or held. */
  readonly #waiting = new Set<string>();
  /** A topic permission is about a routing key, not about one event. */
  readonly #refusedKeys = new Map<string, PublishError>();
  #accepted = 0;
  #examined = 0;
  #firstRefusal: PublishError | undefined;

  constructor(options: IsolationOptions) {
    this.#options = options;
  }

  /** @throws {PublishError} when the connection is lost */
  async run(first: Publisher): Promise<Isolated> {
    const { publisher, isComplete } = await this.#examineAll(first);
    if (!isComplete) return { publisher };
    const certain = this.#refused.filter(({ error }) => this.#accepted > 0 || !isAboutTheKey(error));
    for (const { row, error } of certain) await this.#park(row, error);
    if (this.#firstRefusal === undefined || this.#accepted > 0 || certain.length > 0) return { publisher };
    return { publisher, refusal: this.#firstRefusal };
  }

  /** @returns `isComplete`: false when this process is stopping, or the database connection is lost */
  async #examineAll(first: Publisher): Promise<{ publisher: Publisher; isComplete: boolean }> {
    const { reader, stopping } = this.#options;
    let publisher = first;
    let after = '0';
    // The refused event was in flight. But if none of these is accepted, a later event may show whether the broker accepts any.
    while (this.#examined < (this.#accepted > 0 ? IN_FLIGHT_LIMIT : EXAMINED_LIMIT)) {
      const rows = await reader.readAfter(after, READ_LIMIT, BYTES_LIMIT);
      if (rows.length === 0) break;
      for (const row of rows) {
        if (stopping.aborted || reader.lost) return { publisher, isComplete: false };
        after = row.id;
        this.#examined += 1;
        if (this.#waiting.has(row.aggregate)) continue;
        const goesOn = await this.#examine(publisher, row);
        if (publisher.closed?.reason === 'refused') publisher = await this.#options.open();
        if (!goesOn) return { publisher, isComplete: true };
      }
    }
    return { publisher, isComplete: true };
  }

  /** @returns whether to go on */
  async #examine(publisher: Publisher, row: Row): Promise<boolean> {
    const { reader, publish, holds } = this.#options;
    if (holds.has(row.routing_key)) return this.#hold(row);
    const known = this.#refusedKeys.get(row.routing_key);
    const error =
      known ?? (await new Promise<PublishError | undefined>((resolve) => publish(publisher, row, resolve)));
    if (error === undefined) {
      this.#accepted += 1;
      await reader.delete([row.id]);
      return true;
    }
    if (error.reason === 'nacked') {
      holds.begin(row.routing_key, error);
      return this.#hold(row);
    }
    if (error.reason !== 'refused') throw error;
    return this.#refuse(row, error);
  }

  async #hold(row: Row): Promise<true> {
    await this.#options.reader.hold([row.id]);
    this.#waiting.add(row.aggregate);
    return true;
  }

  #refuse(row: Row, error: PublishError): boolean {
    this.#firstRefusal ??= error;
    if (!isAboutTheEvent(error)) return false;
    if (isAboutTheKey(error)) this.#refusedKeys.set(row.routing_key, error);
    this.#refused.push({ row: { ...row, body: '' }, error });
    this.#waiting.add(row.aggregate);
    return this.#accepted > 0 || this.#refusedKeys.size < REFUSED_KEYS_LIMIT;
  }

  async #park(row: Row, error: PublishError): Promise<void> {
    const { reader, hooks, log } = this.#options;
    await reader.park(row.id, error.message);
    hooks.onPublished(row.type, 'parked', 0);
    log.error(
      {
        code: 'publish_refused',
        err: error,
        eventId: row.event_id,
        eventType: row.type,
        aggregate: row.aggregate,
      },
      'event parked: the broker will never accept it; later events of its aggregate wait',
    );
  }
}

/** Refused because of this one event, not because of this service: a topic it may not write to, a size the broker does not accept. */
const isAboutTheEvent = (error: PublishError) =>
  error.code === 406 || error.code === 311 || isAboutTheKey(error);
const isAboutTheKey = ({ code, message }: PublishError) => code === 403 && /access to topic/.test(message);
