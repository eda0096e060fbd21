// Sends sign-ups at a fixed rate, independent of the responses: a slow service gets more concurrent requests, not fewer.

import { createClient, type HttpClient } from './http.ts';
import { attempt, isTransient, type PendingRequest, retry } from './pending-request.ts';
import { seeded } from './random.ts';
import type { Authorize } from './tokens.ts';

/** A sign-up, with all its attempts. */
export interface SignUp extends PendingRequest {
  name: string;
  email: string;
  /** The body of the 201. */
  user?: { id: string; name: string; email: string; createdAt: string };
}

export interface LoadOptions {
  /** Sign-ups per second. */
  rate: number;
  seed: number;
  /** Base URLs to spread the requests over; called before each request. */
  targets: () => readonly string[];
  /** Share of sign-ups that send an Idempotency-Key and repeat failed requests, 0 to 1. Default 1. */
  keyed?: number;
  authorize?: Authorize;
  /** Every sign-up is added to it when it begins. */
  ledger: SignUp[];
}

export interface Load {
  /** Starts no more sign-ups; resolves once each has its response. */
  stop(): Promise<SignUp[]>;
  /** Stops at once, without waiting for responses. */
  abandon(): void;
  signUps: SignUp[];
}

export const PATHS = ['/users', '/users/save', '/create_user'];

export function startLoad(options: LoadOptions): Load {
  const { rate, seed, targets, keyed = 1, ledger } = options;
  const random = seeded(seed);
  const client = createClient(options.authorize);
  const signUps: SignUp[] = [];
  const underWay = new Set<Promise<void>>();
  const began = performance.now();
  const abandoned = new AbortController();
  let sent = 0;

  const sendDue = () => {
    const elapsed = performance.now() - began;
    for (; sent * (1_000 / rate) <= elapsed; sent += 1) {
      const signUp = newSignUp(`${seed}-${sent}`, random.pick(PATHS), random.next() < keyed);
      signUps.push(signUp);
      ledger.push(signUp);
      const due = began + sent * (1_000 / rate);
      const target = () => random.pick(targets());
      const work = signUpUntilAnswered(client, signUp, target, due, abandoned.signal);
      underWay.add(work);
      void work.then(() => underWay.delete(work));
    }
    timer = setTimeout(sendDue, Math.max(0, began + sent * (1_000 / rate) - performance.now()));
  };
  let timer: NodeJS.Timeout;
  sendDue();

  return {
    signUps,
    async stop() {
      clearTimeout(timer);
      await Promise.all(underWay);
      client.close();
      return signUps;
    },
    abandon() {
      clearTimeout(timer);
      abandoned.abort();
      client.close();
    },
  };
}

/** Sends a single sign-up, and adds it to the ledger. */
export async function signUpOnce(
  client: HttpClient,
  ledger: SignUp[],
  url: string,
  options: { id: string; path?: string; key?: string; headers?: Record<string, string> },
): Promise<SignUp> {
  const { id, path = '/users', key, headers } = options;
  const signUp = { ...newSignUp(id, path, false), ...(key !== undefined && { key }) };
  if (headers?.['x-correlation-id'] !== undefined) signUp.correlationId = headers['x-correlation-id'];
  ledger.push(signUp);
  await trySignUp(client, signUp, url, performance.now(), headers);
  return signUp;
}

export function newSignUp(id: string, path: string, keyed: boolean): SignUp {
  return {
    name: `Person ${id}`,
    email: `person-${id}@example.com`,
    path,
    correlationId: `e2e-${id}`,
    ...(keyed && { key: `key-${id}` }),
    attempts: [],
  };
}

/** Repeats a sign-up until its response is final. Without a key it is not repeated, because a failed request may have succeeded. */
export const signUpUntilAnswered = (
  client: HttpClient,
  signUp: SignUp,
  target: () => string,
  due: number,
  abandoned: AbortSignal,
): Promise<void> =>
  retry(
    (from) => trySignUp(client, signUp, target(), from),
    (last) => signUp.key !== undefined && isTransient(last),
    due,
    abandoned,
  );

async function trySignUp(
  client: HttpClient,
  signUp: SignUp,
  url: string,
  from: number,
  headers?: Record<string, string>,
) {
  const { name, email } = signUp;
  const made = await attempt(client, signUp, { name, email }, url, from, headers);
  if (made.answer?.status === 201) signUp.user ??= made.answer.body;
  return made;
}
