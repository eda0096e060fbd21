// The environment, read once at the start: one Joi schema, every mistake at once, a frozen object.
import { existsSync, readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { Joi } from '@warren/events';
import { distance } from 'fastest-levenshtein';
import { oneHost } from './database/url.ts';
import { parseDuration } from './duration.ts';
import { ConfigError } from './errors.ts';
import type { ProducerCheck } from './messaging/producers.ts';
import type { RetryDelay } from './messaging/topology.ts';

export { ConfigError } from './errors.ts';

/** What every service knows, under the variables' own names. Lengths of time are milliseconds. */
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
  /** The service that says over the broker for whom it asks. */
  AUTH_GATEWAY: string;
}

export type Environment = Record<string, string | undefined>;

const FILE = '_FILE';

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

/** A length of time, e.g. `15m`; milliseconds in the config. A default may be written either way. */
export const duration = (fallback?: string | number): Joi.AnySchema<number> =>
  withDefault(types.duration(), fallback);

/** A size, e.g. `100kb`; bytes in the config. A default may be written either way. */
export const bytes = (fallback?: string | number): Joi.AnySchema<number> =>
  withDefault(types.bytes(), fallback);

/** A port to listen on, 1 to 65535; 0 takes any free one (for tests). */
export const port = (fallback?: number): Joi.NumberSchema =>
  withDefault(Joi.number().integer().min(0).max(65535).messages(NO_PORT), fallback);

const NO_PORT = Object.fromEntries(
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
      // Joi takes a default as it is; ours may be written as in the environment.
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

/** RabbitMQ refuses a time to live of more than 49 days, and with it every message that is to be retried. */
const LONGEST_DELAY = 30 * 86_400_000;

function parseDelays(text: string): readonly RetryDelay[] | undefined {
  const delays = text.split(',').map((item) => {
    const name = item.trim().replace(/^\d+$/, '$&s');
    return { name, ms: parseDuration(name) ?? 0 };
  });
  const different = new Set(delays.map(({ name }) => name)).size === delays.length;
  return different && delays.every(({ ms }) => ms > 0 && ms <= LONGEST_DELAY) ? delays : undefined;
}

/** A length of time that is not 0. */
export const positive = (fallback: string): Joi.AnySchema<number> =>
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
    REQUEST_TIMEOUT: positive('10s').description(
      'A request that takes longer is cancelled with its transaction and answered 503.',
    ),
    BODY_LIMIT: bytes('100kb').description('Largest request body; a larger one is answered 413.'),
    DATABASE_POOL: Joi.number()
      .integer()
      .min(1)
      .max(1000)
      .default(10)
      .description(
        'Most database connections for requests at once; events, tasks and the relay have their own.',
      ),
    INBOX_RETENTION: positive('30d').description(
      'How long the inbox remembers a message; older messages are dead-lettered. Longer than any dead-letter queue keeps a message.',
    ),
    IDEMPOTENCY_RETENTION: positive('24h').description(
      'How long the response to an `Idempotency-Key` is kept.',
    ),
    RETRY_DELAYS: types
      .delays()
      .default('1s,10s,1m')
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
    AUTH_KEYS_REFRESH: positive('5m').description(
      'How often the keys are fetched: while the issuer is available, a withdrawn key is accepted at most that long.',
    ),
    AUTH_GATEWAY: name
      .default('gateway')
      .description('The service that may name over the broker the user it asks for.'),
  };
}

// --- Reading ---

/**
 * Reads the environment by the chassis's schema with the service's laid over it.
 * A variable that is empty counts as not set. `NAME_FILE` names a file that holds the value of `NAME`.
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
  const excused = new Set([
    ...given.mistakes.keys(),
    ...[...misspelt.values()].map((known) => known.replace(/_FILE$/, '')),
  ]);

  const { error, value } = schema.validate(given.values, { abortEarly: false, errors: { label: false } });
  const mistakes = [
    ...[...misspelt].map(([name, known]) => `${name}: did you mean ${known}?`),
    ...[...given.mistakes].map(([name, text]) => `${name}: ${text}`),
    ...firstOfEach(error?.details ?? [])
      .filter(({ path, type }) => !(type === 'any.required' && excused.has(String(path[0]))))
      .map((detail) => describe(detail, schema, given)),
  ];
  if (!error && value.PORT === value.ADMIN_PORT && value.PORT !== 0) {
    mistakes.push(`ADMIN_PORT: must differ from PORT, got ${value.PORT} for both`);
  }
  // Who names an issuer does not want to stand open because of one variable that is missing.
  if (given.values.AUTH === undefined && given.values.AUTH_ISSUER !== undefined)
    mistakes.push('AUTH: is not set, but AUTH_ISSUER is; set AUTH=jwt, or AUTH=off to accept everybody');
  if (mistakes.length > 0) throw new ConfigError(mistakes);
  for (const part of Object.values(value)) Object.freeze(part);
  return Object.freeze(value as Config & ChassisConfig);
}

interface Given {
  values: Record<string, string>;
  /** Names whose value came from a file, and the file. */
  files: Map<string, string>;
  mistakes: Map<string, string>;
}

function collect(names: string[], env: Environment): Given {
  const given: Given = { values: {}, files: new Map(), mistakes: new Map() };
  for (const name of names) {
    const direct = isLinkedPort(name, env) ? undefined : env[name] || undefined;
    const file = names.includes(name + FILE) ? undefined : env[name + FILE] || undefined;
    if (direct !== undefined) given.values[name] = direct;
    if (file === undefined) continue;
    if (direct !== undefined) {
      given.mistakes.set(name, `is set together with ${name + FILE}; set only one of them`);
      continue;
    }
    try {
      const content = readFileSync(file, 'utf8').replace(/\r?\n$/, '');
      given.files.set(name, file);
      if (content === '') given.mistakes.set(name, `the file ${file} of ${name + FILE} is empty`);
      else given.values[name] = content;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      const reason = code === 'ENOENT' ? 'does not exist' : `cannot be read (${code})`;
      given.mistakes.set(
        name,
        `${isPath(file) ? `the file ${file} of` : 'the file of'} ${name + FILE} ${reason}`,
      );
    }
  }
  return given;
}

/** Whether it may be printed: `NAME_FILE` with the secret itself in it is a common mistake. */
const isPath = (text: string): boolean => dirname(text).length > 1 && existsSync(dirname(text));

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
  if (file === undefined && isPresentable(name, raw, detail))
    return `${name}: ${detail.message}, got ${JSON.stringify(raw.length > 200 ? `${raw.slice(0, 200)}…` : raw)}`;
  const message = quotes(detail, raw, schema.extract(name)) ? 'is invalid' : detail.message;
  return `${name}: ${message}${file === undefined ? '' : `, got an invalid value from ${file}`} (the value is not shown because it may be secret)`;
}

const SECRET_NAME =
  /SECRET|PASS|PWD|TOKEN|CREDENTIAL|AUTHORIZATION|COOKIE|(^|_)(KEYS?|URLS?|URI|DSN|HEADERS|ENDPOINT|CONNECTION)(_|$)/;
/** In any variable: a URL, `user:password@`, a setting such as libpq's `password=`. */
const SECRET_SHAPE = /:\/\/|:[^\s@]*@|=|pass(word|wd)?|secret|token/i;

/** Whether a value may be printed: neither the name, nor the type, nor the shape of the value is that of a secret. */
const isPresentable = (name: string, value: string, { type }: Joi.ValidationErrorItem): boolean =>
  !SECRET_NAME.test(name.toUpperCase()) && !type.startsWith('url.') && !SECRET_SHAPE.test(value);

/** Whether a message repeats four characters of the value that the schema does not say itself: Joi quotes what it refuses. */
function quotes({ message }: Joi.ValidationErrorItem, value: string, schema: Joi.Schema): boolean {
  const text = message.toLowerCase();
  const known = JSON.stringify(schema.describe()).toLowerCase();
  const given = value.trim().toLowerCase();
  for (let at = 0; at === 0 || at + 4 <= given.length; at += 1) {
    const part = given.slice(at, at + 4);
    if (text.includes(part) && !known.includes(part)) return true;
  }
  return false;
}

/** Hides passwords in URLs, also those that do not parse, and in settings such as libpq's `password=…`. */
export function maskCredentials(text: string): string {
  if (!text.includes('=') && !text.includes('://')) return text;
  return text
    .replace(/(:\/\/[^\s:/?#"'@]{0,128}):[^\s"']{0,512}@/g, '$1:***@')
    .replace(
      /(\b\w{0,32}(?:password|passwd|secret|token)\s{0,8}=\s{0,8})(?:'(?:[^'\\]|\\.){0,512}'|[^\s&"']+)/gi,
      '$1***',
    )
    .replace(/([?&][\w.]{0,32}pass=)[^\s&"']*/gi, '$1***');
}

// --- Names nobody knows ---

// Set by systems, shells and runtimes; some are a letter or two away from what a service may call its own.
const WELL_KNOWN = new Set(
  `CI COLUMNS DEBUG DISPLAY EDITOR HOME HOST HOSTNAME HOSTTYPE IFS LANG LANGUAGE LINES LOGNAME MACHTYPE MAIL MANPATH
  OLDPWD OSTYPE PAGER PATH POST PWD RANDOM SECONDS SHELL SHLVL TEMP TERM TMP TMPDIR TZ UID USER USERNAME VISUAL
  NODE_ENV NODE_OPTIONS NODE_PATH HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY INIT_CWD INVOCATION_ID
  AMQP_MANAGEMENT_URL`.split(/\s+/),
);
const FOREIGN =
  /^(_|npm_|KUBERNETES_|LC_|XDG_|SSH_|GPG_|GIT_|GITHUB_|PG[A-Z]+$|DOCKER_|YARN_|NVM_|SYSTEMD_)/i;

function findNearMisses(names: string[], env: Environment): Map<string, string> {
  const known = new Set(names.flatMap((name) => [name, name + FILE]));
  const misses = new Map<string, string>();
  for (const [name, value] of Object.entries(env)) {
    if (!value || known.has(name) || WELL_KNOWN.has(name.toUpperCase()) || FOREIGN.test(name)) continue;
    if (isServiceLink(name, env)) continue;
    const [meant] = [...known]
      .filter((candidate) => isNearMiss(name, candidate))
      .sort((a, b) => distance(name, a) - distance(name, b));
    if (meant !== undefined) misses.set(name, meant);
  }
  return misses;
}

/**
 * Whether a name is so near to a known one that it must be a slip: two edits, or fewer where the known name is short.
 * A word that shares less than half its letters with the other is another word: SESSION_URL is no SESSION_TTL, HOST no PORT.
 */
export function isNearMiss(name: string, known: string): boolean {
  const [given, wanted] = [name.toUpperCase(), known.toUpperCase()];
  const edits = slips(given, wanted);
  if (edits === 0) return name !== known;
  const { length } = wanted.replace(/_FILE$/, '');
  if (length <= 4) return edits === 1 && given.length === wanted.length && isSwap(given, wanted);
  if (edits > (length <= 7 ? 1 : 2)) return false;
  const [ours, theirs] = [given.split('_'), wanted.split('_')];
  if (ours.length !== theirs.length) return true;
  return ours.every((word, at) => {
    const other = theirs[at] as string;
    return word === other || 2 * slips(word, other) < Math.max(word.length, other.length);
  });
}

/** Levenshtein's distance, with two letters swapped as one edit. */
function slips(a: string, b: string): number {
  const edits = distance(a, b);
  return edits === 2 && isSwap(a, b) ? 1 : edits;
}

function isSwap(a: string, b: string): boolean {
  const at = [...a].findIndex((letter, index) => letter !== b[index]);
  return (
    a.length === b.length &&
    at >= 0 &&
    a.slice(0, at) + a.charAt(at + 1) + a.charAt(at) + a.slice(at + 2) === b
  );
}

/**
 * Variables Kubernetes (and Docker links) inject for a service called e.g. `user`: USER_SERVICE_HOST, USER_PORT=tcp://…,
 * USER_PORT_80_TCP_ADDR. One of them can have the very name of a variable of ours, and still says nothing to us.
 * https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
 */
function isServiceLink(name: string, env: Environment): boolean {
  if (/_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$/.test(name)) return true;
  if (/_SERVICE_(HOST|PORT)$/.test(name) || /_SERVICE_PORT_[A-Z\d_]+$/.test(name)) return true;
  return isLinkedPort(name, env);
}

function isLinkedPort(name: string, env: Environment): boolean {
  return name.endsWith('_PORT') && /^(tcp|udp|sctp):\/\//.test(env[name] ?? '');
}
