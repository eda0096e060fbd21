// Messages for the broker: damaged or odd bodies, properties of every kind, headers of every AMQP type.
import type { Options } from 'amqplib';
import fc from 'fast-check';

export interface Odd {
  /** Which of the recorded messages it is made of. */
  template: number;
  /** Members of its JSON that are others, or missing (undefined). */
  edits: Record<string, unknown>;
  /** What becomes of its bytes. */
  damage:
    | 'none'
    | 'cut'
    | 'latin1'
    | 'nul'
    | 'bom'
    | 'empty'
    | 'noise'
    | 'deep'
    | 'large'
    | 'array'
    | 'huge number';
  properties: Options.Publish;
  /** Without the user that the broker vouches for. */
  anonymous: boolean;
}

const oddValue: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom<unknown>(
    null,
    true,
    0,
    -1,
    1.5,
    1e308,
    '',
    'x',
    [],
    {},
    '\u0000',
    '\ud800',
    '1.0',
    'x'.repeat(5_000),
  ),
  fc.constantFrom<unknown>(
    '2026-13-01T00:00:00Z',
    '1970-01-01t00:00:00z',
    '9999-12-31T23:59:60Z',
    '00-',
    '__proto__',
    '/user',
    'user.created',
    'user.created.v1',
  ),
  fc.jsonValue({ maxDepth: 2 }),
);

const edits = (names: string[]): fc.Arbitrary<Record<string, unknown>> =>
  fc
    .array(
      fc.tuple(
        fc.constantFrom(...names),
        fc.oneof({ weight: 4, arbitrary: oddValue }, { weight: 1, arbitrary: fc.constant(undefined) }),
      ),
      { maxLength: 3 },
    )
    .map((pairs) => Object.fromEntries(pairs));

/** A value of each type that AMQP 0-9-1 knows, as amqplib takes it. */
const oddField: fc.Arbitrary<unknown> = fc.letrec<{ field: unknown }>((tie) => ({
  field: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    fc.constantFrom<unknown>(
      null,
      true,
      false,
      0,
      -1,
      127,
      128,
      40_000,
      2 ** 40,
      -(2 ** 53),
      1.5,
      '',
      'x',
      '5',
      '-1',
      'NaN',
    ),
    fc.constantFrom(
      { '!': 'int64', value: '9223372036854775807' },
      { '!': 'uint8', value: 255 },
      { '!': 'uint16', value: 65_535 },
      { '!': 'uint32', value: 4_294_967_295 },
      { '!': 'float', value: 1.5 },
      { '!': 'double', value: Number.NaN },
      { '!': 'timestamp', value: '18446744073709551615' },
      { '!': 'timestamp', value: 0 },
      { '!': 'decimal', value: { places: 255, digits: 1 } },
    ),
    fc.uint8Array({ maxLength: 8 }).map((bytes) => Buffer.from(bytes)),
    fc.string({ unit: 'grapheme', maxLength: 20 }),
    fc.array(tie('field'), { maxLength: 3 }),
    fc.dictionary(fc.constantFrom('a', 'count', 'queue', 'reason', '__proto__', 'recovery'), tie('field'), {
      maxKeys: 3,
    }),
  ),
})).field;

const deepField = fc.constantFrom(50, 500, 3_000).map((depth) => {
  let field: unknown = 'end';
  for (let level = 0; level < depth; level += 1) field = { n: field };
  return field;
});

const HEADERS = [
  'x-death',
  'x-first-death-queue',
  'x-first-death-reason',
  'x-last-death-exchange',
  'x-delivery-count',
  'x-acquired-count',
  'rascal',
  'x-warren-attempts',
  'x-warren-reason',
  'x-warren-error',
  'x-warren-first-failed-at',
  'x-warren-last-failed-at',
  'x-warren-queue',
  'x-warren-exchange',
  'x-warren-routing-key',
  'x-warren-timeout',
  'x-correlation-id',
  'traceparent',
  'tracestate',
  '__proto__',
  'constructor',
  'n'.repeat(255),
];

/** Shapes that are nearly those of Rascal and of the broker. */
const nearly = fc.constantFrom<Record<string, unknown>>(
  { rascal: { recovery: null } },
  { rascal: { recovery: { 'session.user.created': { forwarded: 'x', republished: -1 } } } },
  { rascal: { redeliveries: { '!': 'int64', value: '9223372036854775807' }, originalQueue: 1 } },
  { rascal: { restoreRoutingHeaders: true, originalRoutingKey: '', originalExchange: 'events' } },
  {
    'x-death': [
      { count: -1, reason: 'rejected', queue: 'session.user.created', exchange: 'x', 'routing-keys': 'x' },
    ],
  },
  { 'x-death': [{ count: { '!': 'int64', value: '9223372036854775807' }, reason: 'expired', queue: 1 }] },
  { 'x-death': [1, null, 'x', [[]], {}] },
  { 'x-warren-attempts': 2 ** 31, 'x-warren-queue': 'order.user.created' },
  { 'x-warren-attempts': -1, 'x-warren-reason': 'handler_failed', 'x-warren-first-failed-at': 'never' },
  { CC: ['session.nothing.v9'] },
  { BCC: ['session.nothing.v9'] },
  { 'x-large': 'x'.repeat(70_000) },
);

const headers = fc.oneof(
  { weight: 2, arbitrary: fc.constant({}) },
  {
    weight: 4,
    arbitrary: fc.dictionary(fc.constantFrom(...HEADERS), oddField, { maxKeys: 4, noNullPrototype: true }),
  },
  { weight: 2, arbitrary: nearly },
  {
    weight: 1,
    arbitrary: fc.tuple(fc.constantFrom(...HEADERS), deepField).map(([name, field]) => ({ [name]: field })),
  },
);

const shortText = fc.oneof(
  fc.constantFrom('', 'x', '\u0000', 'x'.repeat(255), 'é'.repeat(127), '__proto__'),
  fc.string({ unit: 'grapheme', maxLength: 20 }),
);

const properties: fc.Arbitrary<Options.Publish> = fc
  .record(
    {
      contentType: fc.oneof(
        fc.constantFrom(
          'application/cloudevents+json',
          'application/json; charset=utf-8',
          'Application/JSON',
          'text/plain',
          'application/cloudevents-batch+json',
        ),
        shortText,
      ),
      contentEncoding: fc.constantFrom('gzip', 'utf-8', '', 'x'),
      messageId: shortText,
      correlationId: shortText,
      type: shortText,
      appId: shortText,
      timestamp: fc.constantFrom(0, 1, 2 ** 31, 2 ** 53 - 1),
      priority: fc.constantFrom(0, 9, 255),
      persistent: fc.boolean(),
      // Long enough that it never expires here.
      expiration: fc.constantFrom('4294967295', '600000'),
    },
    { requiredKeys: [] },
  )
  .chain((given) => headers.map((own) => ({ ...given, headers: own })));

export const oddMessages = (names: string[]): fc.Arbitrary<Odd> =>
  fc.record({
    template: fc.nat(1_000),
    edits: edits(names),
    damage: fc.oneof(
      { weight: 8, arbitrary: fc.constant('none' as const) },
      {
        weight: 4,
        arbitrary: fc.constantFrom<Odd['damage']>(
          'cut',
          'latin1',
          'nul',
          'bom',
          'empty',
          'noise',
          'deep',
          'large',
          'array',
          'huge number',
        ),
      },
    ),
    properties,
    anonymous: fc.integer({ min: 0, max: 9 }).map((one) => one === 9),
  });

/** @param edits of `data.NAME` change a member of `data` */
export function bodyOf(
  json: Record<string, unknown>,
  { edits, damage }: Pick<Odd, 'edits' | 'damage'>,
): Buffer {
  const own = Object.entries(edits);
  const data = own.flatMap(([name, value]) => (name.startsWith('data.') ? [[name.slice(5), value]] : []));
  // Object.fromEntries makes a member of __proto__; an assignment would not.
  const whole = Object.fromEntries([
    ...Object.entries(json),
    ...(data.length > 0
      ? [['data', Object.fromEntries([...Object.entries(json.data ?? {}), ...data])] as const]
      : []),
    ...own.filter(([name]) => !name.startsWith('data.')),
  ]);
  const text = JSON.stringify(whole);
  switch (damage) {
    case 'none':
      return Buffer.from(text);
    case 'cut':
      return Buffer.from(text).subarray(0, text.length >> 1);
    case 'latin1':
      return Buffer.from(text.replace('{', '{"name":"J\u00e9r\u00f4me",'), 'latin1');
    case 'nul':
      return Buffer.from(`${text}\u0000`);
    case 'bom':
      return Buffer.from(`\ufeff${text}`);
    case 'empty':
      return Buffer.alloc(0);
    case 'noise':
      return Buffer.from(Array.from({ length: 300 }, (_, at) => (at * 181 + 97) % 256));
    case 'deep':
      return Buffer.from(text.replace(/\}$/, `,"deep":${'['.repeat(50_000)}${']'.repeat(50_000)}}`));
    case 'large':
      return Buffer.from(text.replace(/\}$/, `,"large":"${'x'.repeat(300_000)}"}`));
    case 'array':
      return Buffer.from(`[${text}]`);
    case 'huge number':
      return Buffer.from(text.replace(/\}$/, ',"huge":1e999999}'));
  }
}
