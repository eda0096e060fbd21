// Idempotency-Key: the first request with a key takes effect, and its repeats get the same response.
// https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
import { createHash } from 'node:crypto';
import { type QueryExecutorProvider, sql } from 'kysely';
import { abortable } from '../concurrency.ts';
import type { Origin, WorkContext } from '../context.ts';
import { problem, RETRY_SHORTLY } from '../errors.ts';
import { invalid } from '../request/validation.ts';
import type { RequestScope } from './request-scope.ts';
import type { RenderedResponse } from './response.ts';
import type { RequestParts } from './routes.ts';

const HEADER = 'idempotency-key';
const REPLAYED = 'idempotency-replayed';
const KEY = /^[\x21-\x7e]{1,255}$/;

/** @throws {Problem} 400 if the header is not a valid key */
export function idempotencyKeyOf({ headers }: RequestParts<unknown, unknown, unknown>): string | undefined {
  const key = headers[HEADER] as string | undefined;
  if (key === undefined || KEY.test(key)) return key;
  throw invalid([{ path: HEADER, message: `${HEADER} must be 1 to 255 visible ASCII characters` }]);
}

/** Runs a request once for each key. */
export type Idempotency = (
  /** `route`: the canonical path template. `subject`: of the caller, where it has one. */
  scope: {
    route: string;
    subject: string | undefined;
    key: string;
    request: RequestParts<object, object, unknown>;
  },
  origin: Origin & { signal: AbortSignal },
  current: RequestScope,
  run: (work: WorkContext) => Promise<RenderedResponse>,
  /** `UnitsOfWork.run`, or one that shares commits. */
  inTransaction: <T>(run: (work: WorkContext) => Promise<T>) => Promise<T>,
) => Promise<RenderedResponse>;

interface Stored {
  digest: Buffer;
  answer: RenderedResponse;
}

export function idempotency(): Idempotency {
  // Repeats that arrive while the first request runs in this process wait in memory. If each held a connection, they would exhaust the
  // pool that the first request needs. After its commit they get its response; after a failure one of them runs.
  const running = new Map<string, Promise<Stored | undefined>>();

  return async ({ route: path, subject, key, request }, origin, current, run, inTransaction) => {
    const digest = digestOf(request);
    const route = scopeOf(path, subject);
    const id = `${route} ${key}`;
    current.late = inProgress;
    for (let first = running.get(id); first !== undefined; first = running.get(id)) {
      const stored = await abortable(first, origin.signal);
      if (stored !== undefined) return replay(stored, digest);
    }
    current.late = undefined;

    const { promise, resolve } = Promise.withResolvers<Stored | undefined>();
    running.set(id, promise);
    let outcome: Stored | undefined;
    try {
      const { answer, stored } = await inTransaction(async (work) => {
        current.late = inProgress;
        const earlier = await claim(work, route, key, digest);
        current.late = undefined;
        if (earlier !== undefined) return { answer: replay(earlier, digest), stored: earlier };
        const answer = await run(work);
        return { answer, stored: await keep(work, route, key, digest, answer) };
      });
      outcome = stored;
      return answer;
    } finally {
      running.delete(id);
      resolve(outcome);
    }
  };
}

/**
 * A key belongs to its sender. The subject is stored in the column of the route, so that older replicas work on the same table. A path
 * has no space, so scopes do not overlap.
 */
const scopeOf = (path: string, subject: string | undefined): string =>
  subject === undefined ? path : `${path} ${subject}`;

const inProgress = () =>
  problem(409, {
    title: 'Request in progress',
    code: 'idempotency_in_progress',
    detail: 'A request with this Idempotency-Key is still in progress; try again later.',
    headers: RETRY_SHORTLY,
  });

function replay({ digest, answer }: Stored, asked: Buffer): RenderedResponse {
  if (!digest.equals(asked)) {
    throw problem(422, {
      title: 'Idempotency-Key reused',
      code: 'idempotency_key_reused',
      detail: 'This Idempotency-Key was used for a different request; use a new key for each request.',
    });
  }
  return { ...answer, headers: { ...answer.headers, [REPLAYED]: 'true' } };
}

/** Claims the key, or returns the response that is stored under it. Waits for a concurrent transaction that holds the key. */
async function claim(
  { transaction }: WorkContext,
  route: string,
  key: string,
  digest: Buffer,
): Promise<Stored | undefined> {
  // It loops only if the row is pruned between the two statements.
  for (;;) {
    const claimed = await sql`
      insert into warren.idempotency_keys (route, key, digest) values (${route}, ${key}, ${digest})
      on conflict do nothing`.execute(transaction);
    if (claimed.numAffectedRows === 1n) return undefined;
    const { rows } = await sql<{ digest: Buffer } & RenderedResponse>`
      select digest, status, headers, body from warren.idempotency_keys
      where route = ${route} and key = ${key}`.execute(transaction);
    const [row] = rows;
    if (row === undefined) continue;
    const { digest: earlier, status, headers, body } = row;
    return { digest: earlier, answer: { status, headers, body: body ?? undefined } };
  }
}

/** Stores the response of a success; anything else frees the key. */
async function keep(
  { transaction }: WorkContext,
  route: string,
  key: string,
  digest: Buffer,
  answer: RenderedResponse,
): Promise<Stored | undefined> {
  const { status, headers, body } = answer;
  if (status < 200 || status > 299) {
    await sql`delete from warren.idempotency_keys where route = ${route} and key = ${key}`.execute(
      transaction,
    );
    return undefined;
  }
  await sql`
    update warren.idempotency_keys
    set status = ${status}, headers = ${JSON.stringify(headers)}::jsonb, body = ${body ?? null}
    where route = ${route} and key = ${key}`.execute(transaction);
  return { digest, answer };
}

/** SHA-256 of the validated request, so that neither whitespace nor the order of fields counts. */
export function digestOf({
  params,
  query,
  body,
}: Pick<RequestParts<object, object, unknown>, 'params' | 'query' | 'body'>): Buffer {
  return createHash('sha256')
    .update(canonicalJson([params, query, body]))
    .digest();
}

/** JSON with sorted fields. https://www.rfc-editor.org/rfc/rfc8785 */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) => {
    if (typeof inner !== 'object' || inner === null || Array.isArray(inner)) return inner;
    const fields = Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1));
    // Defined, not assigned, because a field may be called __proto__.
    return Object.create(
      null,
      Object.fromEntries(fields.map(([name, field]) => [name, { value: field, enumerable: true }])),
    );
  });
}

const PRUNE_BATCH_ROWS = 1_000;

/**
 * Deletes responses older than `age` (ms), in batches, so that no request waits long for a lock.
 * @returns the number of deleted rows
 */
export async function pruneIdempotencyKeys(database: QueryExecutorProvider, age: number): Promise<number> {
  for (let total = 0; ; ) {
    const { numAffectedRows = 0n } = await sql`
      delete from warren.idempotency_keys where ctid = any (array(
        select ctid from warren.idempotency_keys
        where created_at < now() - ${age} * interval '1 millisecond'
        limit ${PRUNE_BATCH_ROWS} for update skip locked))`.execute(database);
    total += Number(numAffectedRows);
    if (numAffectedRows < PRUNE_BATCH_ROWS) return total;
  }
}
