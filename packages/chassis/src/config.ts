// Reads the environment once at startup by one Joi schema, and reports every mistake at once.
import { hostname } from 'node:os';
import { Joi } from '@warren/events';
import { oneHost } from './database/url.ts';
import { parseDuration } from './duration.ts';
import { collect, type Environment, findNearMisses, type Given } from './environment.ts';
import { ConfigError } from './errors.ts';
import type { ProducerCheck } from './messaging/producers.ts';
import { parseDelays, RETRY_DELAYS, type RetryDelay } from './messaging/retry-delays.ts';
import { isSecretVariable } from './redact.ts';

/** The configuration that all services have, by the names of the variables. Durations are milliseconds. */
export interface ChassisConfig {
  PORT: number;
  ADMIN_PORT: number;
  /** Address or host name that both ports are bound to; `::` is all interfaces. */
  LISTEN_HOST: string;
  AMQP_URL?: string;
  DATABASE_URL?: string;
  LOG_LEVEL: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent';
  SHUTDOWN_GRACE: number;
  DRAIN_DELAY: number;
  REQUEST_TIMEOUT: number;
  /** Bytes. */
  BODY_LIMIT: number;
  DATABASE_POOL: number;
  INBOX_RETENTION: number;
  IDEMPOTENCY_RETENTION: number;
  RETRY_DELAYS: readonly RetryDelay[];
  PRODUCER_CHECK: ProducerCheck;
  /** Broker users whose messages every consumer accepts. */
  OPERATORS: readonly string[];
  OTEL_EXPORTER_OTLP_ENDPOINT?: string;
  INSTANCE: string;
  AUTH: 'off' | 'jwt';
  AUTH_ISSUER?: string;
  AUTH_AUDIENCE?: string;
  AUTH_JWKS_URL?: string;
  /** The claim that holds the id of the user. */
  AUTH_SUBJECT_CLAIM: string;
  /** The claim that holds the roles, by its name or by a path with dots. */
  AUTH_ROLES_CLAIM: string;
  /** How long a key that the issuer has withdrawn is accepted at most. */
  AUTH_KEYS_REFRESH: number;
  /** The service that may name the user on whose behalf it calls a method. */
  AUTH_GATEWAY: string;
}

// --- Types of variables ---

const DURATION = 'must be a duration such as 500ms, 30s, 15m, 24h or 30d (a bare number is seconds)';
const BYTES = 'must be a size such as 512b, 100kb or 1mb (a bare number is bytes)';

const types = Joi.extend(
  textual('duration', DURATION, parseDuration),
  textual('bytes', BYTES, parseBytes),
  textual(
    'delays',
    'must be a list of distinct durations, each longer than 0 and at most 30d, such as 1s,10s,1m',
    parseDelays,
  ),
  textual('names', 'must be names separated by commas', parseNames),
);

/** A duration, e.g. `15m`; milliseconds in the config. A default may be written either way. */
export const duration = (fallback?: string | number): Joi.AnySchema<number> =>
  withDefault(types.duration(), fallback);

/** A size, e.g. `100kb`; bytes in the config. A default may be written either way. */
export const bytes = (fallback?: string | number): Joi.AnySchema<number> =>
  withDefault(types.bytes(), fallback);

/** A port to listen on, 1 to 65535; 0 takes any free one (for tests). */
export const port = (fallback?: number): Joi.NumberSchema =>
  withDefault(Joi.number().integer().min(0).max(65535).messages(PORT_MESSAGES), fallback);

const PORT_MESSAGES = Object.fromEntries(
  ['base', 'integer', 'min', 'max', 'unsafe', 'infinity'].map((rule) => [
    `number.${rule}`,
    'must be a port, 1 to 65535',
  ]),
);

/** A URL of one of these schemes, e.g. `url('amqp', 'amqps')`. It is never printed. */
export const url = (...schemes: [string, ...string[]]): Joi.StringSchema => {
  const starts = schemes.map((scheme) => `${scheme}://`).join(' or ');
  return Joi.string()
    .meta({ type: 'URL' })
    .custom((value: string, helpers) => {
      if (!schemes.some((scheme) => value.toLowerCase().startsWith(`${scheme}://`)))
        return helpers.error(/^\s*\w+\s*=/.test(value) ? 'url.settings' : 'url.scheme');
      if (!URL.canParse(value)) return helpers.error('url.form');
      return value;
    })
    .messages({
      'url.scheme': `must start with ${starts}`,
      'url.settings': `must be a URL that starts with ${starts}, not a list of settings`,
      'url.form':
        'is not a valid URL (percent-encode special characters in a user name or password, e.g. %23 for #)',
    });
};

function withDefault<Schema extends Joi.AnySchema>(schema: Schema, fallback: unknown): Schema {
  return fallback === undefined ? schema : schema.default(fallback);
}

function textual(type: string, message: string, parse: (text: string) => unknown): Joi.ExtensionFactory {
  const code = `${type}.base`;
  return (joi) => ({
    type,
    base: joi.any(),
    messages: { [code]: message },
    coerce: (value, helpers) => {
      if (typeof value !== 'string') return { value };
      const parsed = parse(value);
      return parsed === undefined ? { value, errors: [helpers.error(code)] } : { value: parsed };
    },
    overrides: {
      // Joi does not parse a default; ours may be written as in the environment.
      default(this: { $_parent(method: string, value: unknown): Joi.Schema }, value: unknown) {
        return this.$_parent('default', typeof value === 'string' ? parse(value) : value);
      },
    } as Joi.Extension['overrides'],
  });
}

function parseBytes(text: string): number | undefined {
  const factors: Record<string, number> = { b: 1, kb: 1024, mb: 1024 ** 2, gb: 1024 ** 3 };
  const [, digits, unit = 'b'] = /^(\d{1,12})(b|kb|mb|gb)?$/i.exec(text.trim()) ?? [];
  return digits === undefined ? undefined : Number(digits) * (factors[unit.toLowerCase()] as number);
}

function parseNames(text: string): readonly string[] | undefined {
  const names = text.split(',').map((name) => name.trim());
  return names.includes('') ? undefined : names;
}

/** A duration longer than 0. */
export const positiveDuration = (fallback?: string | number): Joi.AnySchema<number> =>
  duration(fallback).invalid(0).messages({ 'any.invalid': 'must be longer than 0' });

/**
 * What every service knows. The descriptions are those of docs/reference/configuration.md.
 * @public
 */
export function chassisSchema(needs: { database: boolean; broker: boolean }): Joi.SchemaMap {
  const amqp = url('amqp', 'amqps').example('amqp://user:password@host:5672');
  const postgres = oneHost
    .concat(url('postgres', 'postgresql'))
    .example('postgres://user:password@host:5432/database');
  return {
    PORT: port(3000).description('For HTTP; 0 takes any free port.'),
    ADMIN_PORT: port(9000).description('For `/metrics`, `/livez` and `/readyz`; 0 takes any free port.'),
    LISTEN_HOST: Joi.string()
      .hostname()
      .messages({
        'string.hostname': 'must be an address or a host name, such as 127.0.0.1, or :: for all interfaces',
      })
      .default('127.0.0.1')
      .description(
        'Address or host name that both ports are bound to; in the images `::`, which is all interfaces, or those of IPv4 alone where IPv6 is missing.',
      ),
    AMQP_URL: (needs.broker ? amqp.required() : amqp).description(
      '`amqp://user:password@host:5672/vhost`, or `amqps://`; without a vhost it is `/`.',
    ),
    DATABASE_URL: (needs.database ? postgres.required() : postgres).description(
      "`postgres://user:password@host:5432/database`: the service's own database on PostgreSQL 15 to 18. One host, or a Unix socket (`postgres://user:password@/database?host=/var/run/postgresql`); several hosts and `target_session_attrs` are refused.",
    ),
    LOG_LEVEL: Joi.valid('trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent')
      .default('info')
      .description('The least severe level that is logged.'),
    SHUTDOWN_GRACE: duration('25s').description(
      "Time to finish after SIGTERM; shorter than the platform's own (Kubernetes: 30 s).",
    ),
    DRAIN_DELAY: duration('0s').description(
      'How long the service still accepts requests after SIGTERM, while load balancers notice.',
    ),
    REQUEST_TIMEOUT: positiveDuration('10s').description(
      'A request that takes longer is cancelled with its transaction and gets 503.',
    ),
    BODY_LIMIT: bytes('100kb').description('Largest request body; a larger one gets 413.'),
    DATABASE_POOL: Joi.number()
      .integer()
      .min(1)
      .max(1000)
      .default(10)
      .description(
        'Most database connections for requests at once; events, tasks and the relay have their own.',
      ),
    INBOX_RETENTION: positiveDuration('30d').description(
      'How long the inbox remembers a message; older messages are dead-lettered. Longer than any dead-letter queue keeps a message.',
    ),
    IDEMPOTENCY_RETENTION: positiveDuration('24h').description(
      'How long the response to an `Idempotency-Key` is kept.',
    ),
    RETRY_DELAYS: types
      .delays()
      .default(RETRY_DELAYS.default)
      .description(
        'The retry ladder: how long a failed message waits before each further attempt. Each is a queue `SERVICE.retry.DELAY`.',
      ),
    PRODUCER_CHECK: Joi.valid('enforce', 'report', 'off')
      .default('enforce')
      .description(
        'For messages from another broker user than their contract names: `enforce` refuses them, `report` accepts and counts them, `off` does not check. The user of `AMQP_URL` contains the name of the service, or this is `off`; with the user `guest` it is `off`.',
      ),
    OPERATORS: types
      .names()
      .default([])
      .description('Broker users, separated by commas, from whom every event is accepted: for replays.'),
    OTEL_EXPORTER_OTLP_ENDPOINT: url('http', 'https').description(
      'Where traces are sent, e.g. `http://localhost:4318`; without it tracing is not loaded.',
    ),
    INSTANCE: Joi.string()
      .pattern(/^[\w.-]{1,128}$/)
      .messages({
        'string.pattern.base': 'must be at most 128 letters, digits, dots, dashes and underscores',
      })
      .default(`${hostname()}-${process.pid}`)
      .meta({ default: 'host name and process id' })
      .description('Names this process to others: its connections, its reply queue.'),
    ...authSchema(),
  };
}

function authSchema(): Joi.SchemaMap {
  const needed = (schema: Joi.Schema) => schema.when('AUTH', { is: 'off', otherwise: Joi.required() });
  const name = Joi.string().max(200);
  return {
    AUTH: Joi.valid('off', 'jwt')
      .default('off')
      .description(
        '`jwt`: requests are authenticated by bearer tokens. `off`: every request is accepted, and the log says so at the start. If `AUTH_ISSUER` is set, `AUTH` must be set, too.',
      ),
    AUTH_ISSUER: needed(url('http', 'https').example('https://id.example.com/realms/warren')).description(
      'The `iss` of the tokens, exactly as it is written there.',
    ),
    AUTH_AUDIENCE: needed(name.example('warren')).description('What the `aud` of a token must contain.'),
    AUTH_JWKS_URL: needed(
      url('http', 'https').example('https://id.example.com/realms/warren/protocol/openid-connect/certs'),
    ).description(
      'Where the issuer publishes its keys: `jwks_uri` of its `/.well-known/openid-configuration`.',
    ),
    AUTH_SUBJECT_CLAIM: name.default('sub').description("The claim with Warren's id of the user."),
    AUTH_ROLES_CLAIM: name
      .default('roles')
      .description(
        'The claim with the roles, a list or words: its name, or a path with dots such as `realm_access.roles`.',
      ),
    AUTH_KEYS_REFRESH: positiveDuration('5m').description(
      'How often the keys are fetched: while the issuer is available, a withdrawn key is accepted at most that long.',
    ),
    AUTH_GATEWAY: name
      .default('gateway')
      .description('The service that may send requests over the broker on behalf of a user.'),
  };
}

// --- Reading ---

/**
 * Reads the environment by the schema of the chassis, extended by that of the service.
 * An empty variable counts as not set. `NAME_FILE` names a file that holds the value of `NAME`.
 * @throws {ConfigError} every mistake at once
 */
export function loadConfig<Config>(options: {
  schema?: Joi.SchemaMap;
  database: boolean;
  broker: boolean;
  env: Environment;
}): Readonly<Config & ChassisConfig> {
  const schema = Joi.object({ ...chassisSchema(options), ...options.schema });
  const names = Object.keys(schema.describe().keys as object);
  const given = collect(names, options.env);
  const misspelt = findNearMisses(names, options.env);
  const { error, value } = schema.validate(given.values, { abortEarly: false, errors: { label: false } });
  const mistakes = [
    ...[...misspelt].map(([name, known]) => `${name}: did you mean ${known}?`),
    ...[...given.mistakes].map(([name, text]) => `${name}: ${text}`),
    ...schemaMistakes(error?.details ?? [], schema, given, misspelt),
    ...combinedMistakes(error === undefined ? value : undefined, given),
  ];
  if (mistakes.length > 0) throw new ConfigError(mistakes);
  for (const part of Object.values(value)) Object.freeze(part);
  return Object.freeze(value as Config & ChassisConfig);
}

/** What the schema refuses: the first mistake of each variable, except one that is missing because of another mistake. */
function schemaMistakes(
  details: Joi.ValidationErrorItem[],
  schema: Joi.ObjectSchema,
  given: Given,
  misspelt: Map<string, string>,
): string[] {
  const explained = new Set([
    ...given.mistakes.keys(),
    ...[...misspelt.values()].map((known) => known.replace(/_FILE$/, '')),
  ]);
  return firstOfEach(details)
    .filter(({ path, type }) => !(type === 'any.required' && explained.has(String(path[0]))))
    .map((detail) => describe(detail, schema, given));
}

/** Variables that contradict each other. */
function combinedMistakes(valid: ChassisConfig | undefined, { values }: Given): string[] {
  const mistakes: string[] = [];
  if (valid !== undefined && valid.PORT === valid.ADMIN_PORT && valid.PORT !== 0)
    mistakes.push(`ADMIN_PORT: must differ from PORT, got ${valid.PORT} for both`);
  // Without this, one missing variable would leave a service open that was meant to verify tokens.
  if (values.AUTH === undefined && values.AUTH_ISSUER !== undefined)
    mistakes.push('AUTH: is not set, but AUTH_ISSUER is; set AUTH=jwt, or AUTH=off to accept every request');
  return mistakes;
}

function firstOfEach(details: Joi.ValidationErrorItem[]): Joi.ValidationErrorItem[] {
  return details.filter((detail, at) => details.findIndex(({ path }) => path[0] === detail.path[0]) === at);
}

function describe(detail: Joi.ValidationErrorItem, schema: Joi.ObjectSchema, given: Given): string {
  const name = String(detail.path[0]);
  if (detail.type === 'any.required') {
    const [example] = (schema.extract(name).describe() as { examples?: unknown[] }).examples ?? [];
    return `${name}: is required${example === undefined ? '' : `, e.g. ${example}`}`;
  }
  const raw = given.values[name] ?? '';
  const file = given.files.get(name);
  if (file === undefined && !detail.type.startsWith('url.') && !isSecretVariable(name, raw))
    return `${name}: ${detail.message}, got ${JSON.stringify(raw.length > 200 ? `${raw.slice(0, 200)}…` : raw)}`;
  const message = quotes(detail, raw, schema.extract(name)) ? 'is invalid' : detail.message;
  return `${name}: ${message}${file === undefined ? '' : `, got an invalid value from ${file}`} (the value is not shown because it may be secret)`;
}

/** Whether a message contains four characters of the value that the schema does not have: Joi quotes refused values. */
function quotes({ message }: Joi.ValidationErrorItem, value: string, schema: Joi.Schema): boolean {
  const text = message.toLowerCase();
  // Not its description: no message comes from that, and it says what a secret looks like.
  const own = JSON.stringify(schema.describe(), (name, part) => (name === 'description' ? undefined : part));
  const known = own.toLowerCase();
  const given = value.trim().toLowerCase();
  for (let at = 0; at === 0 || at + 4 <= given.length; at += 1) {
    const part = given.slice(at, at + 4);
    if (text.includes(part) && !known.includes(part)) return true;
  }
  return false;
}
