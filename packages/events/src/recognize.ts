// Recognizes values that a schema accepts as they are, without running Joi: nearly all values are valid, and Joi takes 20 times as
// long to find that out. What is not recognized goes through Joi, which knows every form that is allowed and what is wrong.
import type Joi from 'joi';

/** True only if the schema accepts the value unchanged, with any preferences. */
export type Recognizes = (value: unknown) => boolean;

/** What Joi's `describe()` returns, as far as it is read here. */
interface Description {
  type: string;
  flags?: Record<string, unknown>;
  // biome-ignore lint/suspicious/noExplicitAny: each rule has arguments of its own
  rules?: { name: string; args?: any; keep?: boolean }[];
  allow?: unknown[];
  keys?: Record<string, Description>;
  preferences?: object;
}

const NOTHING: Recognizes = () => false;

/**
 * Compiles a flat object of texts, numbers and enumerations; of any other schema nothing is recognized.
 * @example const isPlain = recognizerOf(orderCreated.schema)
 */
export function recognizerOf(schema: Joi.Schema): Recognizes {
  const { type, flags = {}, keys, ...more } = schema.describe() as Description;
  if (type !== 'object' || keys === undefined || !hasOnly(flags, OBJECT_FLAGS) || !isInert(more))
    return NOTHING;
  const fields = new Map<string, Recognizes>();
  const required: string[] = [];
  for (const [name, description] of Object.entries(keys)) {
    fields.set(name, fieldOf(description));
    // Joi fills in what is missing and has a default.
    if (description.flags?.presence === 'required' || 'default' in (description.flags ?? {}))
      required.push(name);
  }
  return (value) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
    for (const name of required) if (!Object.hasOwn(value, name)) return false;
    for (const name of Object.keys(value))
      if (fields.get(name)?.((value as Record<string, unknown>)[name]) !== true) return false;
    return true;
  };
}

const OBJECT_FLAGS = new Set(['presence', 'description', 'label']);
const FIELD_FLAGS = new Set([...OBJECT_FLAGS, 'default', 'only']);
/** Parts of a description that do not decide what is valid; of the preferences only some. */
const INERT = new Set(['preferences', 'metas', 'examples', 'notes', 'tags']);
const NONE: ReadonlySet<string> = new Set();
const INERT_PREFERENCES = new Set(['convert', 'messages', 'errors', 'abortEarly']);

const isInert = (rest: Omit<Description, 'type'>) =>
  hasOnly(rest, INERT) && hasOnly(rest.preferences ?? {}, INERT_PREFERENCES);

const hasOnly = (parts: object, known: ReadonlySet<string>) =>
  Object.keys(parts).every((name) => known.has(name));

function fieldOf({ type, flags = {}, rules = [], allow, ...more }: Description): Recognizes {
  if (!hasOnly(flags, FIELD_FLAGS) || flags.presence === 'forbidden' || !isInert(more)) return NOTHING;
  if (flags.only === true && allow !== undefined) {
    // A reference to another field, for one, is an object.
    const isListed = (value: unknown) => typeof value === 'string' && allow.includes(value);
    return rules.length === 0 && (type === 'string' || type === 'any') ? isListed : NOTHING;
  }
  const known = type === 'string' ? TEXT_RULES : type === 'number' ? NUMBER_RULES : undefined;
  if (known === undefined || allow !== undefined) return NOTHING;
  const checks = rules.map(({ name, args }) => known[name]?.(args ?? {}) ?? NOTHING);
  const isOfType = type === 'string' ? isFilled : isOrdinaryNumber;
  return (value) => isOfType(value) && checks.every((check) => check(value as never));
}

const isFilled = (value: unknown): value is string => typeof value === 'string' && value !== '';
const isOrdinaryNumber = (value: unknown): value is number =>
  typeof value === 'number' && Math.abs(value) <= Number.MAX_SAFE_INTEGER && !Object.is(value, -0);

// biome-ignore lint/suspicious/noExplicitAny: each rule has arguments of its own
type Rules<T> = Record<string, (args: any) => ((value: T) => boolean) | undefined>;

const UUID = /^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/i;

const TEXT_RULES: Rules<string> = {
  // With dashes and without a wrapper, which these options allow.
  guid: ({ options: { separator = '-', wrapper = false, ...more } = {} }) =>
    separator === '-' && wrapper === false && hasOnly(more, NONE) ? (value) => UUID.test(value) : undefined,
  case: ({ direction }) => (direction === 'lower' ? (value) => value === value.toLowerCase() : undefined),
  trim: () => (value) => value === value.trim(),
  min: ({ limit, encoding }) =>
    isPlainLimit(limit, encoding) ? (value) => value.length >= limit : undefined,
  max: ({ limit, encoding }) =>
    isPlainLimit(limit, encoding) ? (value) => value.length <= limit : undefined,
  // A code point has one or two UTF-16 units.
  minCharacters:
    ({ limit }) =>
    (value) =>
      value.length >= 2 * limit,
  maxCharacters:
    ({ limit }) =>
    (value) =>
      value.length <= limit,
  isoDate: () => isIsoInstant,
  pattern: ({ regex, options }) => {
    const [, source, flags = ''] = /^\/(.*)\/([a-z]*)$/s.exec(String(regex)) ?? [];
    if (source === undefined || options?.invert || /[gy]/.test(flags)) return undefined;
    const pattern = new RegExp(source, flags);
    return (value) => pattern.test(value);
  },
};

const NUMBER_RULES: Rules<number> = {
  integer: () => Number.isInteger,
  min: ({ limit }) => (typeof limit === 'number' ? (value) => value >= limit : undefined),
  max: ({ limit }) => (typeof limit === 'number' ? (value) => value <= limit : undefined),
  // Of a decimal fraction such as 0.01.
  multiple: ({ base, pfactor }) =>
    base * pfactor === 1 ? (value) => Math.round(value * pfactor) / pfactor === value : undefined,
};

const isPlainLimit = (limit: unknown, encoding: unknown) =>
  typeof limit === 'number' && encoding === undefined;

/** As `Date` writes it. */
export function isIsoInstant(time: string): boolean {
  const ms = time.length === 24 ? Date.parse(time) : Number.NaN;
  return !Number.isNaN(ms) && new Date(ms).toISOString() === time;
}
