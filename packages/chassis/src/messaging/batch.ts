// One batch of a queue: its events, and the transaction that handles them, each once.
import type { CloudEvent } from '@warren/events';
import { timeLimit } from '../concurrency.ts';
import type { PieceOfWork, UnitsOfWork } from '../context.ts';
import { type InboxRow, insertMessages } from '../inbox/inbox.ts';
import type { Delivery } from './deliveries.ts';
import { attemptsOf, failuresOf } from './failed-message-publisher.ts';

/** An event in a batch. */
export interface Piece extends PieceOfWork {
  arrival: Arrival;
  event: CloudEvent;
  inboxId: string;
}

/** A delivery that can be handled. */
export interface Arrival extends Delivery {
  piece: Piece;
}

/** The database has become unavailable while a batch ran. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
}

export class BatchTransactions {
  readonly #queue: string;
  readonly #units: Pick<UnitsOfWork, 'batch'>;
  #interrupting = new AbortController();

  constructor(queue: string, units: Pick<UnitsOfWork, 'batch'>) {
    this.#queue = queue;
    this.#units = units;
  }

  /** Rolls back all that are running: they reject with `Interrupted`. */
  interrupt(): void {
    this.#interrupting.abort(new Interrupted());
    this.#interrupting = new AbortController();
  }

  /**
   * Writes their ids to the inbox, and runs the handlers of those that are new, in one transaction.
   * @returns those that were handled; the others had been before
   */
  async run(pieces: readonly Piece[], timeout: number): Promise<ReadonlySet<Piece>> {
    const interrupted = this.#interrupting.signal;
    const handled = new Set<Piece>();
    const limit = timeLimit(timeout);
    try {
      await this.#units.batch(pieces, {
        signal: AbortSignal.any([limit.signal, interrupted]),
        optimistic: pieces.every(({ arrival }) => arrival.message.fields.redelivered === false),
        first: async (run) => {
          handled.clear();
          const { rows } = await run(insertMessages(this.#queue, pieces.map(inboxRowOf)));
          const fresh = new Set(rows.map(({ message_id: id }) => id as string));
          // If a batch has an event twice, the first one is handled.
          for (const piece of pieces) if (fresh.delete(piece.inboxId)) handled.add(piece);
          return [...handled];
        },
      });
    } catch (error) {
      // A handler may have failed because of the interruption.
      throw interrupted.aborted ? interrupted.reason : error;
    } finally {
      limit.clear();
    }
    return handled;
  }
}

const inboxRowOf = ({ inboxId: id, arrival: { message } }: Piece): InboxRow => {
  const attempts = attemptsOf(message);
  return attempts === 0 ? { id } : { id, attempts, failures: failuresOf(message) };
};
