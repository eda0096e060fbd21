// Requests for an operation: values that fit its document, values at their bounds, values that do not fit, odd headers.
import fc from 'fast-check';
import type { Operation, Parameter, Schema } from './document.ts';
import type { Sent } from './http.ts';

/** Whether the document allows a value; undefined where it does not decide. */
type Verdict = 'fits' | 'unfit' | undefined;

interface Judged<Value> {
  value: Value;
  verdict: Verdict;
}

export interface Request extends Judged<Sent> {
  /** Sent to the gateway in place of the service. */
  throughGateway: boolean;
}

/** What other answers may have named before, so that some requests find something. */
export const KNOWN = { user: '__known_user__', order: '__known_order__' } as const;

const judged = <Value>(verdict: Verdict, values: fc.Arbitrary<Value>): fc.Arbitrary<Judged<Value>> =>
  values.map((value) => ({ value, verdict }));

const pick = <Value>(verdict: Verdict, ...values: Value[]) => judged(verdict, fc.constantFrom(...values));

/** Text that every rule on names allows. */
const plain = (maxLength: number): fc.Arbitrary<string> =>
  fc.stringMatching(/^[A-Za-z][A-Za-z0-9]{0,30}$/).map((text) => text.slice(0, maxLength));

const ODD_TEXT = [
  '',
  ' ',
  '\u0000',
  'a\u0000b',
  '\ud800',
  'x\udfff',
  '\u202eevil',
  '\u200b',
  '\u2028',
  '__proto__',
  'constructor',
  'null',
  '%00',
  "'; drop table users; --",
  '{jndi:ldap://x}',
  '../../etc/passwd',
  'a\r\nb: c',
  'e\u0301',
  'ﬁ',
  'İ',
];

const oddText = fc.oneof(
  fc.constantFrom(...ODD_TEXT),
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc.string({ unit: 'grapheme', maxLength: 40 }),
);

const oddJson: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom<unknown>(null, true, 0, -0, -1, 1e308, 5e-324, 2 ** 53, '', [], {}, [[]]),
  fc.jsonValue({ maxDepth: 3 }),
);

function uuid(): fc.Arbitrary<Judged<string>> {
  return fc.oneof(
    { weight: 3, arbitrary: pick('fits', KNOWN.user, KNOWN.order) },
    { weight: 3, arbitrary: judged('fits', fc.uuid()) },
    { weight: 1, arbitrary: pick('unfit', 'x', '123', 'not-a-uuid', '0'.repeat(36), '-'.repeat(36)) },
    { weight: 1, arbitrary: judged(undefined, oddText) },
    {
      weight: 1,
      arbitrary: judged(
        undefined,
        fc.uuid().map((id) => `{${id.toUpperCase()}}`),
      ),
    },
  );
}

function text({ minLength = 0, maxLength = 200, pattern, format }: Schema): fc.Arbitrary<Judged<string>> {
  if (format === 'uuid') return uuid();
  if (format === 'email') {
    const address = fc.tuple(plain(20), fc.uuid()).map(([name, id]) => `${name}.${id}@example.com`);
    return fc.oneof(
      { weight: 4, arbitrary: judged('fits', address) },
      { weight: 1, arbitrary: pick('unfit', 'x', '@', 'a@', '@example.com', 'a b@example.com') },
      {
        weight: 1,
        arbitrary: judged(
          'unfit',
          address.map((one) => 'x'.repeat(maxLength) + one),
        ),
      },
      { weight: 1, arbitrary: judged(undefined, fc.oneof(oddText, fc.emailAddress())) },
    );
  }
  return fc.oneof(
    { weight: 4, arbitrary: judged('fits', plain(maxLength)) },
    // Code points count, not UTF-16 units.
    {
      weight: 1,
      arbitrary: pick('fits', 'x'.repeat(maxLength), '😀'.repeat(maxLength), '字'.repeat(maxLength)),
    },
    { weight: 1, arbitrary: pick('unfit', 'x'.repeat(maxLength + 1), '😀'.repeat(maxLength + 1)) },
    ...(minLength > 0 ? [{ weight: 1, arbitrary: pick<string>('unfit', '') }] : []),
    ...(pattern ? [{ weight: 1, arbitrary: pick('unfit', 'a\u0000', 'a\nb', 'a\u007f') }] : []),
    { weight: 1, arbitrary: judged(undefined, oddText) },
  );
}

function number({ minimum = 0, maximum = 100, multipleOf = 1 }: Schema): fc.Arbitrary<Judged<number>> {
  const steps = Math.round(1 / multipleOf);
  const inRange = fc
    .integer({ min: Math.ceil(minimum * steps), max: Math.floor(maximum * steps) })
    .map((count) => count / steps);
  return fc.oneof(
    { weight: 4, arbitrary: judged('fits', inRange) },
    { weight: 2, arbitrary: pick('fits', minimum, maximum) },
    { weight: 2, arbitrary: pick('unfit', minimum - 1 / steps, maximum + 1 / steps, maximum * 10, -1e300) },
    {
      weight: 1,
      arbitrary: judged(
        'unfit',
        inRange.map((value) => value - 0.5 / steps).filter((value) => value > 0),
      ),
    },
  );
}

/** A value for a field of a body. */
function field(schema: Schema): fc.Arbitrary<Judged<unknown>> {
  const wrong = (...types: unknown[]) => pick<unknown>('unfit', ...types);
  const odd = judged<unknown>(undefined, oddJson);
  if (schema.enum !== undefined)
    return fc.oneof(
      { weight: 4, arbitrary: pick<unknown>('fits', ...schema.enum) },
      { weight: 1, arbitrary: wrong('none of these', null, 1, [schema.enum[0]], {}) },
    );
  if (schema.type === 'string')
    return fc.oneof(
      { weight: 8, arbitrary: text(schema) },
      { weight: 1, arbitrary: wrong(null, 1, true, ['a'], { a: 1 }) },
      { weight: 1, arbitrary: odd },
    );
  return fc.oneof(
    { weight: 8, arbitrary: number(schema) },
    { weight: 1, arbitrary: wrong(null, '1', '', true, [1], {}) },
    { weight: 1, arbitrary: odd },
  );
}

/** Of several parts: fits when all do, unfit when one is. */
function together(verdicts: Verdict[]): Verdict {
  if (verdicts.includes('unfit')) return 'unfit';
  return verdicts.includes(undefined) ? undefined : 'fits';
}

const contentType: fc.Arbitrary<Judged<string | undefined>> = fc.oneof(
  {
    weight: 10,
    arbitrary: pick('fits', 'application/json', 'application/json; charset=utf-8', 'Application/JSON'),
  },
  {
    weight: 1,
    arbitrary: pick<string | undefined>(
      'unfit',
      'text/plain',
      'application/xml',
      'application/json; charset=utf-16',
      'multipart/form-data; boundary=x',
      'application/x-www-form-urlencoded',
    ),
  },
  {
    weight: 1,
    arbitrary: pick<string | undefined>(undefined, undefined, '', ';', 'application/json;', 'a/b/c'),
  },
);

/** A body, as the text that goes out: JSON.parse and JSON.stringify would lose some of what is odd. */
function body(schema: Schema): fc.Arbitrary<Judged<string>> {
  const { properties = {}, required = [] } = schema;
  const fields = fc.record(
    Object.fromEntries(Object.entries(properties).map(([name, property]) => [name, field(property)])),
    { requiredKeys: required },
  );
  const object = fields.map((parts) => ({
    value: JSON.stringify(
      Object.fromEntries(Object.entries(parts).map(([name, part]) => [name, part.value])),
    ),
    verdict: together(Object.values(parts).map(({ verdict }) => verdict)),
  }));
  const without = fc.tuple(fields, fc.constantFrom(...required)).map(([parts, missing]) => ({
    value: JSON.stringify(
      Object.fromEntries(
        Object.entries(parts).flatMap(([name, part]) => (name === missing ? [] : [[name, part.value]])),
      ),
    ),
    verdict: 'unfit' as const,
  }));
  const extra = fc
    .tuple(
      object,
      fc.constantFrom('extra', '__proto__', 'constructor', 'prototype', ' ', 'Name', 'id'),
      oddJson,
    )
    .map(([{ value }, name, more]) => ({
      value: value.replace(/\}$/, `,${JSON.stringify(name)}:${JSON.stringify(more)}}`),
      verdict: 'unfit' as const,
    }));
  return fc.oneof(
    { weight: 10, arbitrary: object },
    { weight: 1, arbitrary: without },
    { weight: 1, arbitrary: extra },
    {
      weight: 1,
      arbitrary: pick('unfit', '', 'null', '[]', '"x"', '1', 'true', '{', '{"a":}', '{}{}', "{'a':1}", 'NaN'),
    },
    {
      weight: 1,
      arbitrary: judged(
        'unfit',
        fc.integer({ min: 100, max: 20_000 }).map((depth) => '['.repeat(depth) + ']'.repeat(depth)),
      ),
    },
  );
}

function parameter({ name, schema, required = false }: Parameter): fc.Arbitrary<Judged<string | undefined>> {
  const present: fc.Arbitrary<Judged<string | undefined>> =
    schema.type === 'integer'
      ? fc.oneof(
          {
            weight: 4,
            arbitrary: number(schema).map(({ value, verdict }) => ({ value: `${value}`, verdict })),
          },
          { weight: 1, arbitrary: pick('unfit', 'x', 'NaN', 'Infinity', '1,2', '0x', 'null') },
          { weight: 1, arbitrary: pick(undefined, '', ' 1', '1e1', '+1', '01', '1.0', '9'.repeat(400)) },
        )
      : text(schema).map(({ value, verdict }) => ({
          value,
          // A cursor that fits its form may still be none.
          verdict: name === 'after' && verdict === 'fits' ? undefined : verdict,
        }));
  if (required)
    return fc.oneof({ weight: 8, arbitrary: present }, { weight: 1, arbitrary: pick('unfit', undefined) });
  return fc.oneof({ weight: 2, arbitrary: present }, { weight: 1, arbitrary: pick('fits', undefined) });
}

/** Query parameters that no route knows: the documents say that they are refused. */
const unknownQuery = fc.oneof(
  { weight: 8, arbitrary: pick('fits', '') },
  {
    weight: 1,
    arbitrary: pick(
      'unfit',
      'unknown=1',
      '__proto__=1',
      'constructor=1',
      'toString=1',
      'hasOwnProperty=x',
      'Limit=1',
      'a[b]=c',
    ),
  },
  {
    weight: 1,
    arbitrary: pick(undefined, '&', '=', '=1', '%', '%zz=1', '?', 'limit=1&limit=2', 'after', 'a=%00'),
  },
);

/** Headers that must not matter. */
const oddHeaders: fc.Arbitrary<Record<string, string>> = fc
  .array(
    fc.oneof(
      fc.tuple(
        fc.constantFrom(
          'accept',
          'accept-encoding',
          'accept-language',
          'authorization',
          'cookie',
          'forwarded',
          'if-none-match',
          'if-modified-since',
          'origin',
          'prefer',
          'range',
          'referer',
          'traceparent',
          'tracestate',
          'user-agent',
          'via',
          'x-correlation-id',
          'x-forwarded-for',
          'x-forwarded-host',
          'x-forwarded-proto',
          'x-http-method-override',
          'x-request-id',
        ),
        fc.oneof(
          fc.constantFrom(
            '',
            '*/*',
            'application/xml',
            'identity;q=0, *;q=0',
            'br;q=abc',
            'bytes=0-0,-1',
            'for="[::1]:80";proto=https;;,',
            'for=unknown, for=_x',
            '1.2.3.4:5678, [::1]:1, unknown, ',
            '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
            '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more',
            'ff-00000000000000000000000000000000-0000000000000000-00',
            'DELETE',
            'W/"x", *',
            'Thu, 99 Foo 0000 99:99:99 GMT',
          ),
          fc.stringMatching(/^[\x21-\x7e\x80-\xff][\x20-\x7e\x80-\xff]{0,200}$/),
          fc.constant('x'.repeat(4_000)),
        ),
      ),
      fc.tuple(
        fc.constantFrom('__proto__', 'constructor', 'x', 'x-warren-attempts'),
        fc.constantFrom('', '1', 'x'),
      ),
    ),
    { maxLength: 3 },
  )
  .map((pairs) => Object.fromEntries(pairs));

const idempotencyKey: fc.Arbitrary<Judged<string | undefined>> = fc.oneof(
  { weight: 3, arbitrary: pick<string | undefined>('fits', undefined) },
  { weight: 1, arbitrary: judged('fits', fc.uuid()) },
  // Other content may have come under it before.
  { weight: 1, arbitrary: pick(undefined, 'one-key', 'x'.repeat(255)) },
  {
    weight: 1,
    arbitrary: pick(undefined, '', '"', 'x'.repeat(256), 'a b', 'é', 'a, b'),
  },
);

/** Parameters of which one at least is required: a document can say so in words alone. */
const AT_LEAST_ONE: Record<string, readonly string[]> = { 'GET /payments': ['userId', 'orderId'] };

export function requestsOf(operation: Operation): fc.Arbitrary<Request> {
  const { method, path, parameters } = operation;
  const oneOf = AT_LEAST_ONE[`${method} ${path}`];
  const inPath = parameters.filter((one) => one.in === 'path');
  const inQuery = parameters.filter((one) => one.in === 'query');
  const record = (list: Parameter[], required: boolean) =>
    fc.record(
      Object.fromEntries(
        list.map((one) => [one.name, parameter({ ...one, required: required && one.required })]),
      ),
    );
  return fc
    .record({
      throughGateway: fc.boolean(),
      params: record(inPath, false),
      query: record(inQuery, true),
      unknown: unknownQuery,
      headers: fc.oneof({ weight: 3, arbitrary: fc.constant({}) }, { weight: 1, arbitrary: oddHeaders }),
      key: method === 'POST' ? idempotencyKey : pick<string | undefined>('fits', undefined),
      type: contentType,
      body: operation.body ? body(operation.body) : fc.constant(undefined),
      head: fc.boolean(),
    })
    .map(({ throughGateway, params, query, unknown, headers, key, type, body, head }) => {
      const filled = path.replace(/\{(\w+)\}/g, (_, name) =>
        encodeURIComponent(wellFormed(params[name]?.value ?? 'x')),
      );
      const pairs = Object.entries(query).flatMap(([name, { value }]) =>
        value === undefined ? [] : [`${name}=${encodeURIComponent(wellFormed(value))}`],
      );
      const search = [...pairs, ...(unknown.value === '' ? [] : [unknown.value])].join('&');
      const verdicts = [
        // A path with an empty or a percent-encoded part is another path, or one that the gateway refuses.
        ...Object.values(params).map(({ value, verdict }) =>
          value && /^[\w-]+$/.test(value) ? verdict : undefined,
        ),
        ...Object.values(query).map(({ verdict }) => verdict),
        oneOf === undefined || oneOf.some((name) => query[name]?.value !== undefined) ? 'fits' : 'unfit',
        unknown.verdict,
        key.verdict,
        ...(body === undefined ? [] : [body.verdict, body.value === '' ? 'unfit' : type.verdict]),
      ] as Verdict[];
      const sent: Sent = {
        method: method === 'GET' && head ? 'HEAD' : method,
        path: search === '' ? filled : `${filled}?${search}`,
        headers: {
          ...headers,
          ...(key.value !== undefined && { 'idempotency-key': key.value }),
          ...(body !== undefined && type.value !== undefined && { 'content-type': type.value }),
        },
        ...(body !== undefined && { body: Buffer.from(body.value) }),
      };
      return { value: sent, verdict: together(verdicts), throughGateway };
    });
}

/** encodeURIComponent throws on half a surrogate pair. */
const wellFormed = (text: string): string => text.toWellFormed();
