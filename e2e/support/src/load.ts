// Sign-ups at a fixed rate, whatever the answers: a slow service gets more requests at once, not fewer.
import { setTimeout as wait } from 'node:timers/promises';
import { type Answer, createClient, type HttpClient } from './http.ts';
import { seeded } from './random.ts';

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

/** One person who wants to sign up, however often that takes. */
export interface SignUp {
  name: string;
  email: string;
  path: string;
  correlationId: string;
  /** The Idempotency-Key, where one is sent. */
  key?: string;
  attempts: Attempt[];
  /** The body of the 201. */
  user?: { id: string; name: string; email: string; createdAt: string };
}

export interface LoadOptions {
  /** Sign-ups a second. */
  rate: number;
  seed: number;
  /** Base URLs to spread the requests over; asked before each. */
  targets: () => readonly string[];
  /** How many of them send an Idempotency-Key, 0 to 1; those repeat a request that failed. Default 1. */
  keyed?: number;
  /** Every one is added to these as it begins. */
  ledger: SignUp[];
}

export interface Load {
  /** Sends no new sign-ups; resolves when every one has its answer. */
  stop(): Promise<SignUp[]>;
  /** Sends nothing more at all, and waits for nothing. */
  abandon(): void;
  signUps: SignUp[];
}

const PATHS = ['/users', '/users/save', '/create_user'];
/** ms that a client goes on repeating a request that failed. */
const PERSISTENCE = 90_000;

export function startLoad(options: LoadOptions): Load {
  const { rate, seed, targets, keyed = 1, ledger } = options;
  const random = seeded(seed);
  const client = createClient();
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
      const work = persist(client, signUp, target, due, abandoned.signal);
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

/** One sign-up, of its own; entered into the ledger. */
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
  await attempt(client, signUp, url, performance.now(), headers);
  return signUp;
}

function newSignUp(id: string, path: string, keyed: boolean): SignUp {
  return {
    name: `Person ${id}`,
    email: `person-${id}@example.com`,
    path,
    correlationId: `e2e-${id}`,
    ...(keyed && { key: `key-${id}` }),
    attempts: [],
  };
}

/** Tries until there is an answer that is final. Who has no key cannot tell whether a failed request had its effect. */
async function persist(
  client: HttpClient,
  signUp: SignUp,
  target: () => string,
  due: number,
  abandoned: AbortSignal,
): Promise<void> {
  const deadline = performance.now() + PERSISTENCE;
  const isUnsure = () => signUp.key !== undefined && isPassing(signUp.attempts.at(-1) as Attempt);
  let pause = 50;
  await attempt(client, signUp, target(), due);
  while (isUnsure() && performance.now() < deadline && !abandoned.aborted) {
    await wait(pause);
    pause = Math.min(1_000, pause * 2);
    await attempt(client, signUp, target(), performance.now());
  }
}

const isPassing = ({ answer }: Attempt): boolean =>
  answer === undefined ||
  answer.status === 503 ||
  (answer.status === 409 && answer.body.code === 'idempotency_in_progress');

async function attempt(
  client: HttpClient,
  signUp: SignUp,
  url: string,
  from: number,
  headers: Record<string, string> = {},
): Promise<void> {
  const { name, email, path, key, correlationId } = signUp;
  const made: Attempt = { at: Date.now(), ms: 0, url };
  try {
    made.answer = await client.send('POST', `${url}${path}`, {
      body: { name, email },
      headers: {
        'x-correlation-id': correlationId,
        ...(key !== undefined && { 'idempotency-key': key }),
        ...headers,
      },
    });
    if (made.answer.status === 201) signUp.user ??= made.answer.body;
  } catch (error) {
    made.error = error as Error;
  }
  made.ms = performance.now() - from;
  signUp.attempts.push(made);
}
