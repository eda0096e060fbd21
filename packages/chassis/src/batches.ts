// Batches: which run beside each other, and what becomes of one that fails. It is redone in parts, until each piece of work that
// fails is alone, and its neighbours are done.
import { BatchError } from './context.ts';
import { isLostRace } from './units-of-work.ts';

export interface Batches<Item> {
  /** What the next batch has; empty where nothing waits. */
  next(): readonly Item[];
  run(batch: readonly Item[]): Promise<void>;
  /** ms after which a batch is slow, and does not hold up the next one any more. */
  slow: number;
  /** Batches beside each other at most. */
  atOnce: number;
}

/**
 * Runs one batch at a time, and another one beside those that are slow: while one runs, the next one gathers.
 * @returns call it when an item waits; its batch has everything that came in the same turn of the event loop
 */
export function runBatches<Item>({ next, run, slow: slowMs, atOnce }: Batches<Item>): () => void {
  let running = 0;
  let slow = 0;
  let isScheduled = false;
  const start = () => {
    while (running < atOnce && running === slow) {
      const batch = next();
      if (batch.length === 0) return;
      let isSlow = false;
      const timer = setTimeout(() => {
        isSlow = true;
        slow += 1;
        start();
      }, slowMs);
      running += 1;
      void run(batch).finally(() => {
        clearTimeout(timer);
        running -= 1;
        if (isSlow) slow -= 1;
        start();
      });
    }
  };
  return () => {
    if (isScheduled) return;
    isScheduled = true;
    setImmediate(() => {
      isScheduled = false;
      start();
    });
  };
}

export interface HowInParts<Piece> {
  /** In one transaction; rejects when it was rolled back. */
  together(pieces: readonly Piece[]): Promise<void>;
  /** One by itself, which deals with its own failure. */
  alone(piece: Piece): Promise<void>;
  /** Pieces that are alone beside each other. */
  concurrency: number;
  /** After a batch was rolled back: whether to go on. Not while the database is unavailable. */
  goesOn(cause: unknown): Promise<boolean>;
  /** A piece that is not to be begun any more is left out. */
  isLeft(piece: Piece): boolean;
}

export async function inParts<Piece>(pieces: readonly Piece[], how: HowInParts<Piece>): Promise<void> {
  const left = pieces.filter((piece) => how.isLeft(piece));
  if (left.length <= 1) return eachAlone(left, how);
  try {
    await how.together(left);
  } catch (error) {
    const { cause, culprits } = blame(left, error);
    if (!(await how.goesOn(cause))) return;
    const others = left.filter((piece) => !culprits.has(piece));
    if (culprits.size > 0) await inParts(others, how);
    else {
      const half = Math.ceil(others.length / 2);
      await inParts(others.slice(0, half), how);
      await inParts(others.slice(half), how);
    }
    await eachAlone([...culprits], how);
  }
}

/** Who made it fail, as far as that is known. Those that lost a race against another transaction go on each alone. */
function blame<Piece>(
  pieces: readonly Piece[],
  error: unknown,
): { cause: unknown; culprits: ReadonlySet<Piece> } {
  if (!(error instanceof BatchError)) return { cause: error, culprits: new Set() };
  const { cause, culprits } = error as BatchError<Piece>;
  return { cause, culprits: isLostRace(cause) ? new Set(pieces) : culprits };
}

async function eachAlone<Piece>(pieces: readonly Piece[], how: HowInParts<Piece>): Promise<void> {
  const waiting = [...pieces];
  const lane = async () => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift())
      if (how.isLeft(next)) await how.alone(next);
  };
  await Promise.all(Array.from({ length: Math.min(how.concurrency, pieces.length) }, lane));
}
