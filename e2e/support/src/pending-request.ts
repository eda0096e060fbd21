// A request that a client repeats until its response is final.
import { setTimeout as wait } from 'node:timers/promises';
import type { Answer, HttpClient } from './http.ts';

export interface Attempt {
  /** ms since the epoch */
  at: number;
  /** ms; for the first attempt from the time it was due, so that a late start counts. */
  ms: number;
  /** The base URL. */
  url: string;
  answer?: Answer;
  error?: Error & { code?: string; fresh?: boolean };
}

export interface PendingRequest {
  path: string;
  correlationId: string;
  /** The Idempotency-Key, if one is sent. */
  key?: string;
  attempts: Attempt[];
}

/** How long a client repeats a failed request. */
const RETRY_FOR_MS = 90_000;

/**
 * Sends the request once, to its path at `url`, and records the attempt.
 * @param from when it was due, by `performance.now()`
 */
export async function attempt(
  client: HttpClient,
  request: PendingRequest,
  body: object,
  url: string,
  from: number,
  headers: Record<string, string> = {},
): Promise<Attempt> {
  const { path, key, correlationId } = request;
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
  request.attempts.push(made);
  return made;
}

/** Repeats a request, with exponential backoff, while its outcome is not final. */
export async function retry(
  once: (from: number) => Promise<Attempt>,
  isTransient: (attempt: Attempt) => boolean,
  due: number,
  abandoned: AbortSignal,
): Promise<void> {
  const deadline = performance.now() + RETRY_FOR_MS;
  let pause = 50;
  let last = await once(due);
  while (isTransient(last) && performance.now() < deadline && !abandoned.aborted) {
    await wait(pause);
    pause = Math.min(1_000, pause * 2);
    last = await once(performance.now());
  }
}

/** Whether a repeat under the same key may have another response. */
export const isTransient = ({ answer }: Attempt): boolean =>
  answer === undefined ||
  [502, 503, 504].includes(answer.status) ||
  (answer.status === 409 && answer.body.code === 'idempotency_in_progress');

export function describeLast({ attempts }: PendingRequest): string {
  const last = attempts.at(-1);
  const outcome = last?.error?.message ?? `${last?.answer?.status} ${JSON.stringify(last?.answer?.body)}`;
  return `after ${attempts.length} attempts: ${outcome}`;
}
