import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { startProcess } from '@warren/testkit';
import { expect } from 'chai';
import fc from 'fast-check';
import { loadConfig } from '../../../packages/chassis/src/config.ts';
import type { Environment } from '../../../packages/chassis/src/environment.ts';
import { ConfigError } from '../../../packages/chassis/src/errors.ts';
import type { ServiceDescription } from '../../../packages/chassis/src/service/definition.ts';
import { checkout, everyService, type Name } from '../../support/src/index.ts';
import { target } from './support/target.ts';

/** Stands for a password, wherever one may be written. */
const SECRET = 'hunter2s3cr3t';

const OF_CHASSIS = {
  number: ['PORT', 'ADMIN_PORT', 'DATABASE_POOL'],
  duration: [
    'SHUTDOWN_GRACE',
    'DRAIN_DELAY',
    'REQUEST_TIMEOUT',
    'INBOX_RETENTION',
    'IDEMPOTENCY_RETENTION',
    'RETRY_DELAYS',
  ],
  size: ['BODY_LIMIT'],
  text: ['LOG_LEVEL', 'INSTANCE'],
  secret: ['AMQP_URL', 'DATABASE_URL'],
};
const OF_SERVICE: Record<Name, Partial<typeof OF_CHASSIS>> = {
  user: {},
  session: { duration: ['SESSION_TTL'] },
  order: { duration: ['PAYMENT_TIMEOUT'], number: ['WELCOME_PRICE'], text: ['WELCOME_PRODUCT'] },
  payment: {
    number: ['PAYMENT_LIMIT', 'PROVIDER_FAILURE_RATE', 'PROVIDER_TIMEOUT_RATE'],
    duration: ['PROVIDER_LATENCY'],
  },
  email: { text: ['MAIL_FROM'], secret: ['SMTP_URL'] },
  gateway: {
    duration: ['UPSTREAM_TIMEOUT', 'UPSTREAM_WAIT', 'OVERVIEW_TIMEOUT'],
    number: ['UPSTREAM_CONNECTIONS'],
    text: ['RATE_LIMIT', 'TRUST_PROXY', 'USER_URL', 'EMAIL_URL'],
  },
};
const namesOf = (service: Name, kind: keyof typeof OF_CHASSIS): string[] => [
  ...OF_CHASSIS[kind],
  ...(OF_SERVICE[service][kind] ?? []),
];

const odd = fc.oneof(
  fc.constantFrom(
    '',
    ' ',
    '0',
    '-1',
    '1',
    'off',
    'null',
    'true',
    '{}',
    '[]',
    '\n',
    'a\nb',
    'NaN',
    'Infinity',
    '1e9',
    '0x10',
    '１',
  ),
  fc.constantFrom(
    '__proto__',
    'constructor',
    'x'.repeat(10_000),
    '\u202e',
    '😀',
    '$(id)',
    'tcp://10.0.0.1:80',
  ),
  fc.string({ unit: 'grapheme', maxLength: 30 }).map((text) => text.replaceAll('\0', '')),
);
const values = {
  number: fc.oneof(fc.integer().map(String), fc.double().map(String), odd),
  duration: fc.oneof(
    fc
      .tuple(fc.nat(100_000), fc.constantFrom('ms', 's', 'm', 'h', 'd', '', 'w', ' s'))
      .map(([count, unit]) => `${count}${unit}`),
    fc.constantFrom('1s,10s', '1s,1s', '0s', '31d', '999999999999d', '1.5s', '-5s', ',', '1s,'),
    odd,
  ),
  size: fc.oneof(
    fc
      .tuple(fc.nat(), fc.constantFrom('b', 'kb', 'mb', 'gb', 'tb', ''))
      .map(([count, unit]) => `${count}${unit}`),
    odd,
  ),
  text: fc.oneof(
    odd,
    fc.constantFrom(
      '100/1s',
      '1/0s',
      '10.0.0.0/8,::1',
      '999.0.0.0/8',
      '::/129',
      'info',
      'INFO',
      'shop@example.com',
      'a@b@c',
    ),
    fc.constantFrom('http://user:80', 'http://user/path', 'https://x', 'http://', `http://me:${SECRET}@user`),
  ),
  /** Every shape that holds the secret; none may be printed. */
  secret: fc.oneof(
    fc
      .tuple(
        fc.constantFrom(
          'amqp',
          'amqps',
          'postgres',
          'postgresql',
          'smtp',
          'smtps',
          'ampq',
          'http',
          'AMQP',
          '',
        ),
        fc.constantFrom('://', ':/', ':', '//', ''),
        fc.constantFrom('me:', 'me', ':', '', 'me%', 'm e:', 'me#:'),
        fc.constantFrom(
          SECRET,
          `${SECRET}#`,
          `${SECRET}/`,
          `p@${SECRET}`,
          `${SECRET}%zz`,
          `"${SECRET}"`,
          ` ${SECRET}`,
        ),
        fc.constantFrom('@', '', '@@', '%40', ' @'),
        fc.constantFrom('host:5672', 'host', '', 'host:x/db', '[::1', 'host/v?x=y', 'h1,h2/db', 'ho st'),
      )
      .map((parts) => parts.join('')),
    fc.constantFrom(
      `host=db user=me password=${SECRET}`,
      `password='${SECRET}' dbname=x`,
      `postgres:host=db;password=${SECRET}`,
      `postgres://host/db?password=${SECRET}`,
      `amqp://host?token=${SECRET}`,
      `{"password":"${SECRET}"}`,
      `amqp://me:x@host\n${SECRET}`,
      SECRET,
      `Server=db;Pwd=${SECRET};`,
      `smtp://me:${SECRET}@host/path`,
      `smtp://host?auth.pass=${SECRET}`,
      `smtp://host?pass=${SECRET}&name=x`,
    ),
  ),
};

const GOOD: Environment = {
  AMQP_URL: 'amqp://me:right@127.0.0.1:1',
  DATABASE_URL: 'postgres://me:right@127.0.0.1:1/x',
};

/** Files that are not there, not readable or empty; and a value that somebody gave in place of a file's name. */
const filesOf = (service: Name): fc.Arbitrary<Environment> =>
  fc
    .tuple(
      fc.constantFrom(...namesOf(service, 'secret')),
      fc.oneof(fc.constantFrom('/nowhere', '/', '/dev/null', 'x\ny', '.'), values.secret),
    )
    .map(([name, file]) => ({ [`${name}_FILE`]: file }));

/** Some variables that the service knows, some a letter away, and those that it needs. */
const environmentsOf = (service: Name): fc.Arbitrary<Environment> => {
  const one = fc.oneof(
    ...(['number', 'duration', 'size', 'text', 'secret'] as const).map((kind) =>
      fc.tuple(fc.constantFrom(...namesOf(service, kind)), values[kind] as fc.Arbitrary<string>),
    ),
    fc.tuple(
      fc.constantFrom(
        'AMPQ_URL',
        'DATABASE_UR',
        'SHUTDWN_GRACE',
        'POTR',
        'AMQP_URLS',
        '__proto__',
        'HOST',
        'USER_PORT',
      ),
      values.secret,
    ),
  );
  return fc
    .record({ good: fc.boolean(), pairs: fc.array(one, { minLength: 1, maxLength: 6 }) })
    .map(({ good, pairs }) => ({ ...(good && GOOD), ...Object.fromEntries(pairs) }));
};

target('environment', ({ property }) => {
  const services = new Map<Name, ServiceDescription>();

  before('the descriptions of the services', async () => {
    for (const name of everyService) {
      const file = join(checkout, 'services', name, 'src', 'service.ts');
      services.set(name, (await import(pathToFileURL(file).href)).service);
    }
  });

  const check = (service: Name) => async (env: Environment) => {
    const { config, migrations, broker } = services.get(service) as ServiceDescription;
    try {
      loadConfig({ schema: config, database: migrations !== undefined, broker: broker !== undefined, env });
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      assertMistakes(error.mistakes);
    }
  };
  for (const service of everyService) {
    property(
      `${service}: every environment is a configuration, or one line a mistake without a secret`,
      600,
      environmentsOf(service),
      check(service),
    );
    property(
      `${service}: every name of a file is that of a secret, or one line without it`,
      200,
      filesOf(service),
      check(service),
    );
  }

  property(
    'a process that cannot start says so on standard error and exits with 1',
    6,
    fc
      .constantFrom(...everyService)
      .chain((service) => environmentsOf(service).map((env) => ({ service, env: { ...env, PORT: 'none' } }))),
    async ({ service, env }) => {
      const started = startProcess({ cwd: join(checkout, 'services', service), env });
      const code = await started.ended;
      const [headline, ...lines] = started.output;
      expect(headline).to.equal(`${service} cannot start with this environment:`);
      assertMistakes(lines.map((line) => line.slice(2)));
      expect(code).to.equal(1);
    },
  );
});

function assertMistakes(mistakes: readonly string[]): void {
  expect(mistakes).not.to.have.length(0);
  for (const line of mistakes) {
    expect(line, 'a mistake names its variable').to.match(/^[A-Za-z_]\w*: \S/);
    expect(line, 'a mistake is one line').not.to.match(/[\n\r]/);
    expect(line.length, 'characters of a mistake').to.be.below(1_000);
    expect(line, 'a mistake has no secret').not.to.contain(SECRET);
    expect(line, 'a mistake has no stack').not.to.match(/\bat .*:\d+:\d+/);
  }
  const names = mistakes.map((line) => line.split(':')[0]);
  expect(new Set(names).size, `one line for each variable: ${names}`).to.equal(names.length);
}
