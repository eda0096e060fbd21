// Text that people write, on the wire and in HTTP.
import Joi from 'joi';

/** Joi counts UTF-16 units; OpenAPI, JSON Schema and PostgreSQL count code points, so that 😀 has the length 1. */
const counted = (name: 'min' | 'max', fits: (length: number, limit: number) => boolean) => ({
  method(this: Joi.Schema, limit: number) {
    return (this as unknown as Extended).$_addRule({ name: `${name}Characters`, args: { limit } });
  },
  args: ['limit'],
  validate(value: string, { error }: Joi.CustomHelpers, { limit }: { limit: number }) {
    return fits([...value].length, limit) ? value : error(`string.${name}`, { limit, value });
  },
  jsonSchema(rule: { args: { limit: number } }, schema: Record<string, unknown>) {
    schema[`${name}Length`] = rule.args.limit;
    return schema;
  },
});

interface Extended {
  $_addRule(rule: { name: string; args: object }): Text;
}
interface Text extends Joi.StringSchema {
  minCharacters(limit: number): Text;
  maxCharacters(limit: number): Text;
}

const counting: { string(): Text } = Joi.extend({
  type: 'string',
  base: Joi.string(),
  rules: {
    minCharacters: counted('min', (length, limit) => length >= limit),
    maxCharacters: counted('max', (length, limit) => length <= limit),
  } as unknown as Joi.Extension['rules'],
});

/** A string of at most `max` code points. */
export const text = (max: number): Joi.StringSchema => counting.string().maxCharacters(max);

// Visible characters: no control, format or separator character, no filler, no blank of Braille, no lone mark.
const VISIBLE = '(?![\\p{Default_Ignorable_Code_Point}\\u2800])[\\p{L}\\p{N}\\p{P}\\p{S}]';
// Controls, formats (marks that change the direction of text, zero-width spaces), half surrogates, breaks of lines and
// paragraphs. Persian and Indic scripts and emoji need the two joiners.
const ALLOWED = '(?:[^\\p{Cc}\\p{Cf}\\p{Cs}\\p{Zl}\\p{Zp}]|[\\u200c\\u200d])';
const LINE = new RegExp(`^(?=.*${VISIBLE})${ALLOWED}*$`, 'u');

/** A name or a title: one line of 1 to `max` code points that shows something, without invisible marks. */
export const line = (max: number): Joi.StringSchema =>
  counting.string().trim().minCharacters(1).maxCharacters(max).pattern(LINE).messages({
    'string.pattern.base':
      '{{#label}} must have a visible character and must not contain control characters or invisible marks',
  });

const HIDDEN = '\\p{Cc}\\p{Cs}\\p{Z}\\p{Default_Ignorable_Code_Point}\\p{Cf}\\u2800';
const ADDRESS = new RegExp(`^[^${HIDDEN}]*@(?:[^${HIDDEN}]|[\\u200c\\u200d])*$`, 'u');

/** Of an e-mail address; some letters are longer in their canonical form, so it is checked after that, too. */
const MAX_ADDRESS = 254;

/** An e-mail address without blanks and invisible marks, of at most 254 code points. `canonical` rewrites it, or throws. */
export const emailAddress = (canonical: (email: string) => string): Joi.StringSchema =>
  counting
    .string()
    .trim()
    .maxCharacters(MAX_ADDRESS)
    .custom((value: string, { error }) => {
      try {
        return canonical(value);
      } catch {
        return error('string.email');
      }
    })
    .email({ tlds: false })
    .pattern(ADDRESS)
    .custom((value: string, { error }) =>
      [...value].length > MAX_ADDRESS ? error('string.max', { limit: MAX_ADDRESS, value }) : value,
    )
    .messages({ 'string.pattern.base': '{{#label}} must not contain blanks or invisible marks' });
