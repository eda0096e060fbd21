import { randomUUID } from 'node:crypto';
import { expect } from 'chai';
import fc from 'fast-check';
import { Joi, line, recognizerOf, text, uuid } from '../src/index.ts';
import { amount, currency, orderCancelled, sessionOpened, userCreated } from './fixtures/events.ts';

const id = randomUUID();

/** As HTTP declares its bodies. */
const body = Joi.object({
  userId: uuid().lowercase().required(),
  name: line(10).required(),
  currency: currency().default('EUR'),
  note: Joi.string().min(2).max(5).description('anything'),
  count: Joi.number().integer().min(-1).max(7),
  status: Joi.valid('a', 'b'),
  at: Joi.string().isoDate(),
  price: amount(),
});

const at = new Date().toISOString();
const order = { orderId: id, price: 0.29, currency: 'GBP', reason: 'payment_timeout' };

/** Each with data that it accepts. */
const samples: [Joi.Schema, Record<string, unknown>][] = [
  [body, { userId: id, name: 'Ada', currency: 'EUR', note: 'abc', count: 3, status: 'a', at, price: 0.29 }],
  [orderCancelled.schema, order],
  [sessionOpened.schema, { sessionId: id, userId: id, expiresAt: at }],
  [userCreated.schema, { userId: id, name: 'Ada', email: 'ada@example.com' }],
];

/** Valid somewhere, or nearly. */
const anyField = fc.oneof(
  fc.constantFrom(id, id.toUpperCase(), `{${id}}`, id.replaceAll('-', ''), `${id}\n`, ` ${id}`),
  fc.constantFrom(
    'EUR',
    'eur',
    'USD',
    'a',
    'b',
    '',
    ' ',
    ' a',
    'ab',
    '😀😀😀',
    '\u200b',
    '\ud800',
    'x'.repeat(201),
  ),
  fc.constantFrom(
    '2026-01-02T03:04:05.678Z',
    '2026-01-02T03:04:05Z',
    '2026-01-02',
    '2026-02-30T00:00:00.000Z',
  ),
  fc.constantFrom(
    0,
    -0,
    1,
    7,
    8,
    -1,
    0.1,
    0.29,
    1.005,
    10.001,
    1e21,
    2 ** 53,
    9_999_999.99,
    10_000_000,
    Number.NaN,
  ),
  fc.constantFrom(null, undefined, true, [], {}, ['EUR'], '10.5'),
  fc.string({ unit: 'grapheme', maxLength: 12 }),
  fc.integer({ min: 0, max: 999_999_999 }).map((minorUnits) => minorUnits / 100),
  fc.double(),
);

/** The sample with up to two fields changed, added or left out. */
const nearly = (sample: Record<string, unknown>) =>
  fc
    .array(fc.tuple(fc.constantFrom(...Object.keys(sample), 'other', 'constructor'), fc.option(anyField)), {
      maxLength: 2,
    })
    .map((changes) => {
      const value = { ...sample };
      for (const [name, field] of changes)
        if (field === null) delete value[name];
        else value[name] = field;
      return value;
    });

describe('a recognizer', () => {
  for (const [i, [schema, sample]] of samples.entries())
    if (schema === userCreated.schema)
      it('leaves an e-mail address to Joi', () => {
        expect(recognizerOf(schema)(sample)).to.equal(false);
      });
    else
      it(`recognizes what is ordinary: schema ${i + 1}`, () => {
        expect(recognizerOf(schema)(sample)).to.equal(true);
      });

  it('recognizes every amount with at most two decimals (property)', () => {
    const recognizes = recognizerOf(Joi.object({ price: amount() }));
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 999_999_999 }), (minorUnits) =>
        recognizes({ price: minorUnits / 100 }),
      ),
    );
  });

  for (const [i, [schema, sample]] of samples.entries())
    for (const [how, options] of [
      ['with conversions', {}],
      ['without conversions', { convert: false, stripUnknown: true }],
    ] as const)
      it(`recognizes only what Joi accepts and leaves as it is: schema ${i + 1}, ${how} (property)`, () => {
        const recognizes = recognizerOf(schema);
        fc.assert(
          fc.property(nearly(sample), (value) => {
            if (!recognizes(value)) return;
            const result = schema.validate(value, options);
            expect(result.error).to.equal(undefined);
            expect(result.value).to.deep.equal(value);
          }),
          { numRuns: 2_000 },
        );
      });

  it('leaves to Joi what has a default and is missing, for Joi fills it in', () => {
    expect(recognizerOf(body)({ userId: id, name: 'Ada' })).to.equal(false);
  });

  for (const [what, field] of Object.entries({
    'a rule that it does not know': text(9).email(),
    'an own check': Joi.string().custom((value) => value),
    'a value that is forbidden': Joi.string().invalid('x'),
    'a field that is forbidden': Joi.string().forbidden(),
    'a field that is removed': Joi.string().strip(),
    'a condition': Joi.string().when('other', { is: 1, otherwise: Joi.forbidden() }),
    'a reference': Joi.valid(Joi.ref('other')),
    'a limit by reference': Joi.number().min(Joi.ref('other')),
    'a UUID of a version': Joi.string().guid({ version: 'uuidv4' }),
    'a UUID in braces': Joi.string().guid({ wrapper: '{' }),
    'a limit in bytes': Joi.string().max(3, 'utf8'),
    'an inverted pattern': Joi.string().pattern(/x/, { invert: true }),
    'a value besides the rules': Joi.string().max(3).allow('xxxx'),
    'an object': Joi.object(),
  }))
    it(`leaves ${what} to Joi`, () => {
      for (const value of ['x', 1, {}, id])
        expect(recognizerOf(Joi.object({ field }))({ field: value })).to.equal(false);
    });

  for (const [what, schema] of Object.entries({
    'unknown keys': Joi.object({ a: Joi.string() }).unknown(),
    'keys that need each other': Joi.object({ a: Joi.string() }).with('a', 'b'),
    'a key by another name': Joi.object({ a: Joi.string() }).rename('b', 'a'),
    'keys by pattern': Joi.object({ a: Joi.string() }).pattern(/b/, Joi.number()),
    'keys that are required by preference': Joi.object({ a: Joi.string(), b: Joi.string() }).prefs({
      presence: 'required',
    }),
    'a list': Joi.array().items(Joi.string()),
  }))
    it(`leaves ${what} to Joi`, () => {
      expect(recognizerOf(schema)({ a: 'x' })).to.equal(false);
    });
});
