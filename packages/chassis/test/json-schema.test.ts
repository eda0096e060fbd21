import { Joi, uuid } from '@warren/events';
import { Ajv2020 } from 'ajv/dist/2020.js';
import * as formats from 'ajv-formats';
import { expect } from 'chai';
import fc from 'fast-check';
import { WarrenError } from '../src/errors.ts';
import { type JsonSchema, jsonSchemaOf } from '../src/openapi/json-schema.ts';

// 19.99 / 0.01 is not a whole number in binary.
const ajv = new Ajv2020({ strict: false, multipleOfPrecision: 6 });
formats.default.default(ajv);

/** Whether Joi takes it as it stands, and whether the JSON Schema does. */
const verdicts = (schema: Joi.Schema, value: unknown) => ({
  joi: schema.validate(value, { convert: false }).error === undefined,
  json: ajv.validate(jsonSchemaOf(schema, 'input'), value),
});

const money = () => Joi.number().strict().min(0).max(9_999_999.99).multiple(0.01);

const id = () => '0199c2a5-7c1d-7000-8f6e-0c9f9f0c7d11';

describe('the JSON Schema of a Joi schema', () => {
  describe('judges as Joi does', () => {
    const cases: [string, Joi.Schema, { good: unknown[]; bad: unknown[] }][] = [
      ['money', money(), { good: [0, 19.99, 0.07, 9999999.99], bad: [-0.01, 0.001, 10_000_000, '1'] }],
      ['a UUID', uuid(), { good: [id()], bad: ['', 'x', `${id()}0`, 1] }],
      [
        'a currency',
        Joi.string().valid('EUR', 'GBP'),
        { good: ['EUR', 'GBP'], bad: ['eur', 'CHF', null, ''] },
      ],
      ['one value', Joi.valid('1.0'), { good: ['1.0'], bad: ['1.1', 1] }],
      ['a value or null', Joi.string().valid('a', null), { good: ['a', null], bad: ['b', '', 0] }],
      ['text or null', Joi.string().max(3).allow(null), { good: ['abc', null], bad: ['', 'abcd', 1] }],
      ['text that may be empty', Joi.string().allow(''), { good: ['', 'a'], bad: [null, 1] }],
      ['text but not some', Joi.string().invalid('root', 'admin'), { good: ['ada'], bad: ['root', 'admin'] }],
      ['a pattern', Joi.string().pattern(/^[^\p{Cc}]*$/u), { good: ['a', 'ö😀'], bad: ['a\nb', ''] }],
      ['a date and time', Joi.string().isoDate(), { good: ['2026-11-21T10:15:00.000Z'], bad: ['today', ''] }],
      ['an address', Joi.string().email({ tlds: false }), { good: ['a@b.example'], bad: ['a', 'a@', ''] }],
      ['a whole number', Joi.number().integer().min(1).max(100), { good: [1, 100], bad: [0, 101, 1.5, '7'] }],
      ['a flag', Joi.boolean(), { good: [true, false], bad: ['true', 0, null] }],
      [
        'a list',
        Joi.array()
          .items(Joi.object({ id: uuid().required() }))
          .min(1)
          .max(2),
        { good: [[{ id: id() }]], bad: [[], [{}], [{ id: 1 }], [{ id: id(), more: 1 }], {}] },
      ],
      [
        'fields',
        Joi.object({ a: Joi.string().required(), b: Joi.number() }),
        { good: [{ a: 'x' }, { a: 'x', b: 1 }], bad: [{}, { b: 1 }, { a: 'x', c: 1 }, [], 'x'] },
      ],
      ['any fields', Joi.object({ a: Joi.string() }).unknown(), { good: [{}, { b: 1 }], bad: [{ a: 1 }] }],
      [
        'a field that may not be',
        Joi.object({ a: Joi.any(), b: Joi.forbidden() }),
        { good: [{ a: 1 }], bad: [{ b: 1 }] },
      ],
      [
        'a field within a field',
        Joi.object({ in: Joi.object({ b: Joi.string().forbidden() }) }),
        { good: [{ in: {} }], bad: [{ in: { b: 'x' } }] },
      ],
      [
        'one or another',
        Joi.alternatives(Joi.object({ a: Joi.string().valid('x', null) }), Joi.number()),
        { good: [{ a: null }, 1], bad: [{ a: 'y' }, 'x'] },
      ],
      ...between({
        or: { good: [{ a: 1 }, { b: 1 }, { a: 1, b: 1 }], bad: [{}] },
        xor: { good: [{ a: 1 }, { b: 1 }], bad: [{}, { a: 1, b: 1 }] },
        oxor: { good: [{}, { a: 1 }, { b: 1 }], bad: [{ a: 1, b: 1 }] },
        and: { good: [{}, { a: 1, b: 1 }], bad: [{ a: 1 }, { b: 1 }] },
        nand: { good: [{}, { a: 1 }, { b: 1 }], bad: [{ a: 1, b: 1 }] },
        with: { good: [{}, { b: 1 }, { a: 1, b: 1 }], bad: [{ a: 1 }] },
        without: { good: [{}, { a: 1 }, { b: 1 }], bad: [{ a: 1, b: 1 }] },
      }),
    ];
    for (const [title, schema, { good, bad }] of cases)
      it(title, () => {
        for (const value of good)
          expect(verdicts(schema, value), JSON.stringify(value)).to.deep.equal({ joi: true, json: true });
        for (const value of bad)
          expect(verdicts(schema, value), JSON.stringify(value)).to.deep.equal({ joi: false, json: false });
        expect(jsonSchemaOf(schema, 'input')).to.not.have.property('$comment');
      });

    it('any amount of money', () => {
      fc.assert(
        fc.property(fc.integer({ min: 0, max: 999_999_999 }), (minorUnits) => {
          expect(verdicts(money(), minorUnits / 100)).to.deep.equal({ joi: true, json: true });
        }),
      );
    });
  });

  describe('never refuses what Joi takes, and says what it leaves to Joi', () => {
    const cases: [string, Joi.Schema, unknown, string][] = [
      ['a rule of its own', Joi.string().custom((value) => value), 'a', 'custom'],
      [
        'another field',
        Joi.object({ a: Joi.number(), b: Joi.number().min(Joi.ref('a')) }),
        { a: 0, b: 1 },
        'min',
      ],
      [
        'a condition',
        // biome-ignore lint/suspicious/noThenProperty: so Joi calls it
        Joi.object({ b: Joi.when('a', { is: 1, then: Joi.required() }) }),
        { b: 1 },
        'conditions',
      ],
      ['a flag of a pattern', Joi.string().pattern(/^abc$/i), 'ABC', 'pattern'],
      ['one of two patterns', Joi.string().pattern(/b/).pattern(/^abc$/i), 'AbC', 'pattern'],
      ['a pattern that must not be', Joi.string().pattern(/^a/, { invert: true }), 'b', 'pattern'],
      ['letters in any case', Joi.string().valid('a').insensitive(), 'A', 'insensitive'],
      ['letters and digits', Joi.string().alphanum(), 'a1', 'alphanum'],
    ];
    for (const [title, schema, value, comment] of cases)
      it(title, () => {
        const json = jsonSchemaOf(schema, 'input');
        expect(schema.validate(value).error).to.equal(undefined);
        expect(ajv.validate(json, value)).to.equal(true);
        expect(JSON.stringify(json)).to.contain(`Also checked: ${comment}`);
      });

    it('but does not take a schema that refers to another', () => {
      const schema = Joi.object({ next: Joi.link('#node') }).id('node');
      expect(() => jsonSchemaOf(schema, 'input'))
        .to.throw(WarrenError, 'Joi.link')
        .with.property('code', 'invalid_route');
    });
  });

  it('keeps descriptions, defaults and examples', () => {
    const schema = Joi.object({
      limit: Joi.number().default(50).description('How many.').example(10),
    });
    expect(jsonSchemaOf(schema, 'input').properties?.limit).to.deep.equal({
      type: 'number',
      default: 50,
      description: 'How many.',
      examples: [10],
    });
  });

  it('of an answer lets later versions add fields, and leaves out what is not sent', () => {
    const schema = Joi.object({
      a: Joi.string().required(),
      secret: Joi.string().strip().required(),
      list: Joi.array().items(Joi.object({ b: Joi.number() })),
    });
    const closed = (node: JsonSchema): boolean =>
      JSON.stringify(node).includes('"additionalProperties":false');
    expect(closed(jsonSchemaOf(schema, 'input'))).to.equal(true);
    expect(closed(jsonSchemaOf(schema, 'output'))).to.equal(false);
    expect(jsonSchemaOf(schema, 'output')).to.deep.include({ required: ['a'] });
    expect(jsonSchemaOf(schema, 'output').properties).to.have.all.keys('a', 'list');
  });
});

type Relation = 'or' | 'xor' | 'oxor' | 'and' | 'nand' | 'with' | 'without';

function between(
  relations: Record<Relation, { good: unknown[]; bad: unknown[] }>,
): [string, Joi.Schema, { good: unknown[]; bad: unknown[] }][] {
  return Object.entries(relations).map(([relation, values]) => [
    `fields under '${relation}'`,
    Joi.object({ a: Joi.number(), b: Joi.number() })[relation as Relation]('a', 'b'),
    values,
  ]);
}
