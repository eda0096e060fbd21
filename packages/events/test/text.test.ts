import { expect } from 'chai';
import { line, text } from '../src/index.ts';

const taken = (value: string, max = 200) => line(max).validate(value).error === undefined;

describe('text', () => {
  it('counts code points, as its JSON Schema does', () => {
    expect(text(3).validate('😀😀😀').error).to.equal(undefined);
    expect(text(3).validate('😀😀😀😀').error?.message).to.include('less than or equal to 3');
    expect(text(3)['~standard'].jsonSchema.input({ target: 'draft-2020-12' })).to.deep.include({
      type: 'string',
      maxLength: 3,
    });
  });
});

describe('a line', () => {
  for (const good of [
    'Ada Lovelace',
    "O'Neill-Grün, 3rd",
    'Jérôme',
    '李小龍',
    'می‌خواهم',
    '👨‍👩‍👧 & ❤️',
    '😀'.repeat(200),
    '  trimmed  ',
    '5',
  ])
    it(`may be ${JSON.stringify(good).slice(0, 40)}`, () => {
      expect(taken(good)).to.equal(true);
    });

  for (const [what, bad] of [
    ['empty', ''],
    ['blank', ' \u00a0\u3000'],
    ['a zero-width space', '\u200b'],
    ['Hangul fillers', '\u3164\u115f\u1160\uffa0'],
    ['Braille blanks', '\u2800\u2800'],
    ['soft hyphens', '\u00ad\u00ad'],
    ['joiners', '\u200c\u200d'],
    ['a variation selector', '\ufe0f'],
    ['a combining mark', '\u0301'],
    ['a byte order mark inside', 'A\ufeffda'],
    ['a bidi override', 'Ada\u202egnp.exe'],
    ['a bidi isolate', 'A\u2066da'],
    ['a line separator', 'A\u2028da'],
    ['a paragraph separator', 'A\u2029da'],
    ['a tag character', 'A\u{e0041}da'],
    ['a line break', 'A\nda'],
    ['U+0000', 'A\u0000da'],
    ['half a surrogate pair', 'A\ud800da'],
    ['201 emoji', '😀'.repeat(201)],
  ] as const)
    it(`must not be or have ${what}`, () => {
      expect(taken(bad)).to.equal(false);
    });

  it('has a JSON Schema that says the same', () => {
    const schema = line(200)['~standard'].jsonSchema.input({ target: 'draft-2020-12' }) as {
      pattern: string;
    };
    expect(schema).to.include({ minLength: 1, maxLength: 200 });
    const pattern = new RegExp(schema.pattern, 'u');
    expect(pattern.test('Ada')).to.equal(true);
    for (const bad of ['\u200b', '\u3164', 'A\u202eb', 'A\u2028b']) expect(pattern.test(bad)).to.equal(false);
  });
});
