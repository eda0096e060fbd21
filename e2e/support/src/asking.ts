// Somebody who wants something, and asks until the answer is final.
import { setTimeout as wait } from 'node:timers/promises';
import type { Answer, HttpClient } from './http.ts';

export interface Attempt {
  /** ms since the epoch */
  at: number;
  /** ms; of the first attempt from the moment it was due, so that a late start is not hidden. */
  ms: number;
  /** Where it went. */
  url: string;
  answer?: Answer;
  error?: Error & { code?: string; fresh?: boolean };
}

export interface Wish {
  path: string;
  correlationId: string;
  /** The Idempotency-Key, where one is sent. */
  key?: string;
  attempts: Attempt[];
}

/** ms that a client goes on repeating a request that failed. */
const PERSISTENCE = 90_000;

/**
 * Posts it once, to `url` and the path of the wish, and enters the attempt.
 * @param from when it was due, by `performance.now()`
 */
export async function attempt(
  client: HttpClient,
  wish: Wish,
  body: object,
  url: string,
  from: number,
  headers: Record<string, string> = {},
): Promise<Attempt> {
  const { path, key, correlationId } = wish;
  const made: Attempt = { at: Date.now(), ms: 0, url };
  try {
    made.answer = await client.send('POST', `${url}${path}`, {
      body,
      headers: {
        'x-correlation-id': correlationId,
        ...(key !== undefined && { 'idempotency-key': key }),
        ...headers,
      },
    });
  } catch (error) {
    made.error = error as Error;
  }
  made.ms = performance.now() - from;
  wish.attempts.push(made);
  return made;
}

/** Tries again, after a growing pause, while `isPassing` says that the outcome was not final. */
export async function persist(
  once: (from: number) => Promise<Attempt>,
  isPassing: (attempt: Attempt) => boolean,
  due: number,
  abandoned: AbortSignal,
): Promise<void> {
  const deadline = performance.now() + PERSISTENCE;
  let pause = 50;
  let last = await once(due);
  while (isPassing(last) && performance.now() < deadline && !abandoned.aborted) {
    await wait(pause);
    pause = Math.min(1_000, pause * 2);
    last = await once(performance.now());
  }
}

/** Whether a repeat under the same key may still have another answer. */
export const isPassing = ({ answer }: Attempt): boolean =>
  answer === undefined ||
  [502, 503, 504].includes(answer.status) ||
  (answer.status === 409 && answer.body.code === 'idempotency_in_progress');

export function describeLast({ attempts }: Wish): string {
  const last = attempts.at(-1);
  const outcome = last?.error?.message ?? `${last?.answer?.status} ${JSON.stringify(last?.answer?.body)}`;
  return `after ${attempts.length} attempts: ${outcome}`;
}
