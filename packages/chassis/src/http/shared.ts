// Requests that share a transaction: what has arrived when the last one has committed is done in the next. Each is answered after
// the commit; where one fails, it is done again by itself, and so are those that shared its fate.

import { inParts, runBatches } from '../batches.ts';
import { timeLimit } from '../concurrency.ts';
import type { Origin, PieceOfWork, UnitsOfWork, WorkContext } from '../context.ts';
import { Problem } from '../errors.ts';

/** As `UnitsOfWork.run`, for requests of this key: those of one key are done one after the other. */
export type SharedWork = <T>(
  key: string,
  origin: Origin & { signal: AbortSignal },
  run: (work: WorkContext) => Promise<T>,
) => Promise<T>;

interface Request extends PieceOfWork {
  origin: Origin & { signal: AbortSignal };
  /** How it came out, once its transaction has committed. */
  outcome: { value: unknown } | { refusal: Problem } | undefined;
  work: (work: WorkContext) => Promise<unknown>;
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

/** Requests in one transaction at most. */
const BATCH = 100;
/** ms that a shared transaction may take; alone, a request has its deadline. */
const TIMEOUT = 1_000;
/** ms after which one is slow, and does not hold up the next any more. */
const SLOW = 100;
/** Beside each other, when they are slow: a part of the connections that all requests have. */
const AT_ONCE = 4;

export function shareCommits(units: UnitsOfWork): SharedWork {
  let waiting: Request[] = [];
  const startSoon = runBatches<Request>({
    next() {
      const batch = waiting.slice(0, BATCH);
      waiting = waiting.slice(BATCH);
      return batch;
    },
    run: (batch) => answer(units, batch),
    slow: SLOW,
    atOnce: AT_ONCE,
  });

  return (key, origin, work) =>
    new Promise((resolve, reject) => {
      const request: Request = {
        key,
        origin,
        outcome: undefined,
        work,
        resolve: resolve as (value: unknown) => void,
        reject,
        async run(given, member) {
          try {
            const value = await work(given);
            // Not kept once its time is over: the client has been told otherwise.
            origin.signal.throwIfAborted();
            request.outcome = { value };
          } catch (error) {
            // A refusal that has written nothing leaves nothing to roll back.
            if (!(error instanceof Problem) || member.hasWritten()) throw error;
            request.outcome = { refusal: error };
          }
        },
      };
      waiting.push(request);
      startSoon();
    });
}

async function answer(units: UnitsOfWork, batch: readonly Request[]): Promise<void> {
  const alone = async ({ origin, work, resolve, reject }: Request) => {
    await units.run(origin, work).then(resolve, reject);
  };
  try {
    await inParts(batch, {
      together: async (requests) => {
        const limit = timeLimit(TIMEOUT);
        await units.batch(requests, { signal: limit.signal }).finally(limit.clear);
        for (const { outcome, resolve, reject } of requests) {
          if (outcome === undefined) reject(new Error('a request of a shared transaction was not handled'));
          else if ('refusal' in outcome) reject(outcome.refusal);
          else resolve(outcome.value);
        }
      },
      alone,
      concurrency: batch.length,
      // Each finds out for itself what became of the database.
      goesOn: async () => true,
      isLeft: ({ origin, reject }) => {
        if (origin.signal.aborted) reject(origin.signal.reason);
        return !origin.signal.aborted;
      },
    });
  } catch (error) {
    for (const { reject } of batch) reject(error);
  }
}
