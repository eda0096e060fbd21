// Requests that share a transaction: those that arrive during one transaction form the next. Each gets its response after the commit.
// If one fails, it is run again alone, and so are the others of its transaction.
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
  /** The result, which counts once the transaction has committed. */
  outcome: { value: unknown } | { refusal: Problem } | undefined;
  work: (work: WorkContext) => Promise<unknown>;
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

const MAX_BATCH_REQUESTS = 100;
/** Limit of a shared transaction. A request that runs alone has its deadline. */
const TIMEOUT_MS = 1_000;
/** After this time the next transaction no longer waits for this one. */
const SLOW_MS = 100;
/** Slow transactions at once: fewer than the connections of all requests. */
const MAX_CONCURRENT = 4;

export function shareCommits(units: UnitsOfWork): SharedWork {
  let waiting: Request[] = [];
  const startSoon = runBatches<Request>({
    next() {
      const batch = waiting.slice(0, MAX_BATCH_REQUESTS);
      waiting = waiting.slice(MAX_BATCH_REQUESTS);
      return batch;
    },
    run: (batch) => answer(units, batch),
    slow: SLOW_MS,
    atOnce: MAX_CONCURRENT,
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
            // Not kept after its deadline: its client already received 503.
            origin.signal.throwIfAborted();
            request.outcome = { value };
          } catch (error) {
            // A problem before the first write leaves nothing to roll back.
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
        const limit = timeLimit(TIMEOUT_MS);
        await units.batch(requests, { signal: limit.signal }).finally(limit.clear);
        for (const { outcome, resolve, reject } of requests) {
          if (outcome === undefined) reject(new Error('a request of a shared transaction was not handled'));
          else if ('refusal' in outcome) reject(outcome.refusal);
          else resolve(outcome.value);
        }
      },
      alone,
      concurrency: batch.length,
      // Each request reports the state of the database itself.
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
