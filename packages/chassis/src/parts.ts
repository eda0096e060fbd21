// A batch that fails: it is redone in parts, until each piece of work that fails is alone, and its neighbours are done.
import { BatchError } from './context.ts';
import { isLostRace } from './units.ts';

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
