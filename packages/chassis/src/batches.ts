// Batches of pieces of work: when one starts, and what happens to one that fails. It is rolled back and run again in smaller ones,
// until each piece that fails is by itself and the others are done.
import { BatchError } from './context.ts';
import { isLostRace } from './units-of-work.ts';

export interface Batches<Item> {
  /** Takes the next batch; empty if nothing waits. */
  next(): readonly Item[];
  run(batch: readonly Item[]): Promise<void>;
  /** ms after which a batch is slow: the next one no longer waits for it. */
  slow: number;
  /** Batches at once, at most. */
  atOnce: number;
}

/**
 * Runs one batch at a time, and another one beside slow ones. While one runs, items wait for the next.
 * @returns call it when an item waits: its batch has all items of the same turn of the event loop
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
  /** One by itself; it handles its own failure. */
  alone(piece: Piece): Promise<void>;
  /** Pieces that run by themselves at once. */
  concurrency: number;
  /** Whether to go on after a rollback: not while the database is unavailable. */
  goesOn(cause: unknown): Promise<boolean>;
  /** Whether a piece is still to be done. */
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

/** The pieces that made it fail, as far as is known. After a race lost against another transaction, all run by themselves. */
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
