import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Joi } from '@warren/events';
import { expect } from 'chai';
import fc from 'fast-check';
import { bytes, type ChassisConfig, duration, loadConfig, port } from '../src/config.ts';
import { parseDuration } from '../src/duration.ts';
import { type Environment, isNearMiss } from '../src/environment.ts';
import { ConfigError } from '../src/errors.ts';
import { maskCredentials } from '../src/redact.ts';

interface Settings {
  SESSION_TTL: number;
  PAGE: number;
  API_TOKEN?: string;
}

const schema = {
  PORT: port(3002),
  SESSION_TTL: duration().default('24h'),
  PAGE: bytes('4kb'),
  API_TOKEN: Joi.string().pattern(/^t-/),
};
const urls = { AMQP_URL: 'amqp://rabbit', DATABASE_URL: 'postgres://localhost/user' };

const load = (env: Environment, needs = { database: true, broker: true }): Settings & ChassisConfig =>
  loadConfig<Settings>({ schema, ...needs, env });

const HIDDEN = '(the value is not shown because it may be secret)';

function mistakesOf(env: Environment, needs?: { database: boolean; broker: boolean }): readonly string[] {
  try {
    load(env, needs);
  } catch (error) {
    if (error instanceof ConfigError) return error.mistakes;
    throw error;
  }
  return [];
}

describe('the configuration', () => {
  it('fills in defaults, the service’s own over the chassis’s', () => {
    const config = load(urls);
    expect(config).to.include({ PORT: 3002, ADMIN_PORT: 9000, LOG_LEVEL: 'info', SESSION_TTL: 86_400_000 });
    expect(config).to.include({ SHUTDOWN_GRACE: 25_000, DRAIN_DELAY: 0, REQUEST_TIMEOUT: 10_000 });
    expect(config).to.include({ BODY_LIMIT: 102_400, PAGE: 4096, INBOX_RETENTION: 30 * 86_400_000 });
    expect(config.RETRY_DELAYS).to.deep.equal([
      { name: '1s', ms: 1_000 },
      { name: '10s', ms: 10_000 },
      { name: '1m', ms: 60_000 },
    ]);
    expect(config.INSTANCE).to.match(/-\d+$/);
  });

  it('is frozen', () => {
    expect(load(urls)).to.be.frozen;
    expect(load(urls).RETRY_DELAYS).to.be.frozen;
  });

  it('takes values in their own units', () => {
    const env = {
      ...urls,
      PORT: '8080',
      SESSION_TTL: '90',
      RETRY_DELAYS: '50ms, 2',
      BODY_LIMIT: '1mb',
      DRAIN_DELAY: '5',
    };
    const config = load(env);
    expect(config).to.include({ PORT: 8080, SESSION_TTL: 90_000, BODY_LIMIT: 1_048_576, DRAIN_DELAY: 5_000 });
    expect(config.RETRY_DELAYS).to.deep.equal([
      { name: '50ms', ms: 50 },
      { name: '2s', ms: 2_000 },
    ]);
  });

  it('takes an empty variable for one that is not set', () => {
    expect(load({ ...urls, PORT: '', API_TOKEN_FILE: '' }).PORT).to.equal(3002);
    expect(mistakesOf({ ...urls, AMQP_URL: '' })).to.have.length(1);
  });

  it('requires the URLs of a broker and a database only if the service has them', () => {
    expect(load({}, { database: false, broker: false })).to.include({ PORT: 3002 });
    expect(mistakesOf({}, { database: true, broker: false })).to.deep.equal([
      'DATABASE_URL: is required, e.g. postgres://user:password@host:5432/database',
    ]);
    expect(mistakesOf({}, { database: false, broker: true })).to.deep.equal([
      'AMQP_URL: is required, e.g. amqp://user:password@host:5672',
    ]);
  });

  it('names every mistake at once, one line each, with what was got and what was expected', () => {
    const env = {
      AMQP_URL: 'http://rabbit',
      PORT: '99999',
      ADMIN_PORT: 'nine',
      LOG_LEVEL: 'loud',
      REQUEST_TIMEOUT: '0',
      BODY_LIMIT: 'big',
      RETRY_DELAYS: '1s,1s',
      DATABASE_POOL: '0',
    };
    expect(mistakesOf(env)).to.have.members([
      'DATABASE_URL: is required, e.g. postgres://user:password@host:5432/database',
      `AMQP_URL: must start with amqp:// or amqps:// ${HIDDEN}`,
      'PORT: must be a port, 1 to 65535, got "99999"',
      'ADMIN_PORT: must be a port, 1 to 65535, got "nine"',
      'LOG_LEVEL: must be one of [trace, debug, info, warn, error, fatal, silent], got "loud"',
      'REQUEST_TIMEOUT: must be longer than 0, got "0"',
      'BODY_LIMIT: must be a size such as 512b, 100kb or 1mb (a bare number is bytes), got "big"',
      'RETRY_DELAYS: must be a list of distinct durations, each longer than 0 and at most 30d, such as 1s,10s,1m, got "1s,1s"',
      'DATABASE_POOL: must be greater than or equal to 1, got "0"',
    ]);
  });

  it('listens only on this machine by default', () => {
    expect(load(urls).LISTEN_HOST).to.equal('127.0.0.1');
    for (const host of ['::', '0.0.0.0', '::1', '10.1.2.3', 'localhost', 'fe80::1'])
      expect(load({ ...urls, LISTEN_HOST: host }).LISTEN_HOST).to.equal(host);
    for (const host of ['[::]', '*', '127.0.0.1:3000', 'a b', 'http://127.0.0.1'])
      expect(mistakesOf({ ...urls, LISTEN_HOST: host })[0], host).to.match(
        /^LISTEN_HOST: must be an address or a host name/,
      );
  });

  it('refuses one port for both', () => {
    expect(mistakesOf({ ...urls, PORT: '4000', ADMIN_PORT: '4000' })).to.deep.equal([
      'ADMIN_PORT: must differ from PORT, got 4000 for both',
    ]);
    expect(mistakesOf({ ...urls, PORT: '0', ADMIN_PORT: '0' })).to.deep.equal([]);
  });

  it('never shows a secret', () => {
    const mistakes = mistakesOf({
      AMQP_URL: 'http://guest:hunter2@rabbit',
      DATABASE_URL: 'postgres://user:hunter2#x@host/db',
      API_TOKEN: 'hunter2',
    }).join('\n');
    expect(mistakes).to.match(/AMQP_URL: must start with/);
    expect(mistakes).to.match(/DATABASE_URL: is not a valid URL .*percent-encode/);
    expect(mistakes).to.match(/API_TOKEN/);
    expect(mistakes).not.to.contain('hunter2');
  });

  it('never shows a secret that occurs in the description of its variable', () => {
    const described = { API_TOKEN: Joi.string().pattern(/^t-/).description('The password of the provider.') };
    expect(() =>
      loadConfig({ schema: described, database: false, broker: false, env: { API_TOKEN: 'password' } }),
    )
      .to.throw(ConfigError)
      .with.property('mistakes')
      .deep.equal([`API_TOKEN: is invalid ${HIDDEN}`]);
  });

  it('refuses several database hosts, and says how failover is done', () => {
    for (const url of [
      'postgres://me:pa,ss@one:5432,two:5432/db',
      'postgres://me:pass@one/db?target_session_attrs=read-write',
      'postgres://me:pass@/db?host=one,two',
    ]) {
      const mistakes = mistakesOf({ ...urls, DATABASE_URL: url });
      expect(mistakes).to.have.length(1);
      expect(mistakes[0]).to.match(
        /^DATABASE_URL: must not have .*a DNS name, a Kubernetes service or a pooler/,
      );
      expect(mistakes[0]).not.to.match(/pa,ss|:pass@/);
    }
  });

  it('takes one database host, or a Unix socket', () => {
    for (const url of [
      'postgres://me:pa,ss@one:5432/db?target_session_attrs=any',
      'postgres://me:pass@%2Fvar%2Frun%2Fpostgresql/db',
      'postgres://me:pass@/db?host=/var/run/postgresql',
      'postgres:///db?host=/var/run/postgresql',
    ])
      expect(() => load({ ...urls, DATABASE_URL: url }), url).not.to.throw();
  });

  it('never shows the password of any URL (property)', () => {
    const secret = fc.stringMatching(/^[\w!#$%^&*()+=,.;:<>?@/\\|~-]{6,40}$/).map((text) => `s3cret${text}`);
    fc.assert(
      fc.property(secret, (password) => {
        expect(maskCredentials(`amqp://user:${password}@host/v`)).not.to.contain('s3cret');
        const [mistake] = mistakesOf({ ...urls, AMQP_URL: `ftp://user:${password}@host/v` });
        expect(mistake).to.be.a('string').that.does.not.contain('s3cret');
      }),
    );
  });

  const shapes = {
    'a URL without @': 'notaurl:hunter2',
    'a URL whose host is the secret': 'http://hunter2',
    'the form of libpq': "host=db password = 'hun ter2 hunter2' user=postgres",
    'the form of libpq, of one setting': 'password=hunter2',
    'the form of JDBC': 'jdbc:postgresql://db/user?user=a&password=hunter2',
    'a bare secret': 'hunter2',
    'upper case and spaces': '  HUNTER2 hunter2  ',
    'a URL that does not parse': 'postgres://user:hunter2@[db',
  };
  for (const [title, value] of Object.entries(shapes))
    it(`never shows a value that may hold a secret: ${title}`, () => {
      const schema = {
        API_KEY: Joi.string().lowercase().trim().pattern(/^k-/),
        API_PASSWORD: Joi.string().valid('swordfish'),
        SMTP_HEADERS: Joi.string().custom((text: string, { message }) =>
          message({ custom: `{#label} has no ${text.slice(1, -1)}` }),
        ),
        DATABASE_URL: Joi.forbidden(),
      };
      const env = { AMQP_URL: value, API_KEY: value, API_PASSWORD: value, SMTP_HEADERS: value };
      const mistakes: string[] = [];
      for (const [schema_, env_] of [
        [schema, { ...env, DATABASE_URL: value }],
        [{}, { ...urls, DATABASE_URL: value, PORT: /:\/\/|=/.test(value) ? value : '0' }],
      ] as [Joi.SchemaMap, Environment][])
        try {
          loadConfig({ schema: schema_, database: true, broker: true, env: env_ });
          expect.fail('it was accepted');
        } catch (error) {
          if (!(error instanceof ConfigError)) throw error;
          mistakes.push(...error.mistakes);
        }
      for (const name of [...Object.keys(env), 'DATABASE_URL'])
        expect(mistakes.filter((line) => line.startsWith(`${name}: `))).to.have.length.above(0);
      expect(mistakes.join('\n')).to.not.match(/hun.?ter|unter2/i);
    });

  it('says that libpq’s form is not understood', () => {
    expect(mistakesOf({ ...urls, DATABASE_URL: 'host=db user=postgres password=hunter2' })).to.deep.equal([
      `DATABASE_URL: must be a URL that starts with postgres:// or postgresql://, not a list of settings ${HIDDEN}`,
    ]);
  });

  it('masks a password in the form of libpq wherever it is logged', () => {
    expect(maskCredentials("cannot parse host=db password='hun ter2' sslmode=require")).to.equal(
      'cannot parse host=db password=*** sslmode=require',
    );
    expect(maskCredentials('host=db PGPASSWORD = hunter2')).to.equal('host=db PGPASSWORD = ***');
  });

  describe('with secrets in files', () => {
    let directory: string;
    before(() => {
      directory = mkdtempSync(join(tmpdir(), 'config-'));
    });
    after(() => rmSync(directory, { recursive: true }));
    const file = (name: string, content: string): string => {
      writeFileSync(join(directory, name), content);
      return join(directory, name);
    };

    it('reads NAME from the file NAME_FILE names, without the newline at its end', () => {
      const config = load({ ...urls, AMQP_URL: '', AMQP_URL_FILE: file('amqp', 'amqps://u:p@h\n') });
      expect(config.AMQP_URL).to.equal('amqps://u:p@h');
    });

    it('does not print a secret that is in NAME_FILE itself', () => {
      for (const secret of ['hunter2', '/hunter2', 'amqp://u:hunter2@rabbit', './hunter2'])
        expect(mistakesOf({ ...urls, API_TOKEN_FILE: secret })).to.deep.equal([
          'API_TOKEN: the file of API_TOKEN_FILE does not exist',
        ]);
    });

    it('names a file that is missing, empty or wrong, and a variable that is set twice', () => {
      const missing = join(directory, 'missing');
      const wrong = file('wrong', 'http://u:hunter2@h');
      expect(mistakesOf({ ...urls, API_TOKEN_FILE: missing })).to.deep.equal([
        `API_TOKEN: the file ${missing} of API_TOKEN_FILE does not exist`,
      ]);
      expect(mistakesOf({ ...urls, API_TOKEN_FILE: file('empty', '\n') }).join()).to.contain('is empty');
      expect(mistakesOf({ ...urls, AMQP_URL: '', AMQP_URL_FILE: wrong })).to.deep.equal([
        `AMQP_URL: must start with amqp:// or amqps://, got an invalid value from ${wrong} ${HIDDEN}`,
      ]);
      expect(mistakesOf({ ...urls, AMQP_URL_FILE: wrong })).to.deep.equal([
        'AMQP_URL: is set together with AMQP_URL_FILE; set only one of them',
      ]);
    });
  });

  describe('with names that nobody knows', () => {
    it('asks whether a name within two edits of a known one was meant, once', () => {
      expect(mistakesOf({ ...urls, SESION_TTL: '3' })).to.deep.equal([
        'SESION_TTL: did you mean SESSION_TTL?',
      ]);
      const env = { AMQP_URL: urls.AMQP_URL, DATABSE_URL: 'postgres://h/d' };
      expect(mistakesOf(env)).to.deep.equal(['DATABSE_URL: did you mean DATABASE_URL?']);
      const fromFile = { AMQP_URL: urls.AMQP_URL, DATABASE_URI_FILE: '/run/secrets/x' };
      expect(mistakesOf(fromFile)).to.deep.equal(['DATABASE_URI_FILE: did you mean DATABASE_URL_FILE?']);
    });

    for (const name of [
      'PROT',
      'port',
      'ADMIN_PROT',
      'AMPQ_URL',
      'AMQP_URI',
      'LOGLEVEL',
      'DRAIN_DELY',
      'RETRY_DELAY',
    ]) {
      it(`takes ${name} for a slip`, () => {
        expect(mistakesOf({ ...urls, [name]: 'x' })).to.have.length(1);
      });
    }

    const innocent =
      `HOST POST PWD PATH HOME SORT PART PORTS TERM USER SHELL HOSTNAME SESSION_URL SESSION_MANAGER
      AMQP_MANAGEMENT_URL NODE_ENV npm_config_port npm_lifecycle_event PGHOST PGPORT PGDATABASE http_proxy KUBERNETES_PORT
      OTEL_EXPORTER_OTLP_HEADERS OTEL_SERVICE_NAME LOG_FILE INSTANCE_TYPE DATABASE_HOST DEBUG`.split(/\s+/);
    it('says nothing of names that are others’', () => {
      expect(
        mistakesOf({ ...urls, ...Object.fromEntries(innocent.map((name) => [name, 'x'])) }),
      ).to.deep.equal([]);
    });

    it('says nothing of the variables Kubernetes injects for services, even under a name of its own', () => {
      const links = (name: string) => ({
        [`${name}_SERVICE_HOST`]: '10.0.0.7',
        [`${name}_SERVICE_PORT`]: '80',
        [`${name}_SERVICE_PORT_HTTP`]: '80',
        [`${name}_PORT`]: 'tcp://10.0.0.7:80',
        [`${name}_PORT_80_TCP`]: 'tcp://10.0.0.7:80',
        [`${name}_PORT_80_TCP_PROTO`]: 'tcp',
        [`${name}_PORT_80_TCP_PORT`]: '80',
        [`${name}_PORT_80_TCP_ADDR`]: '10.0.0.7',
      });
      const env = {
        ...urls,
        ...links('USER'),
        ...links('SESSION'),
        ...links('ADMIN'),
        ...links('ADMINS'),
        ...links('KUBERNETES'),
      };
      expect(load(env).ADMIN_PORT).to.equal(9000);
    });

    it('finds every single slip in a long name (property)', () => {
      const letter = fc.constantFrom(...'ABCDEFGHIJKLMNOPQRSTUVWXYZ');
      fc.assert(
        fc.property(
          fc.constantFrom('DATABASE_POOL', 'SHUTDOWN_GRACE', 'INBOX_RETENTION'),
          fc.nat(),
          letter,
          (name, seed, other) => {
            const at = seed % (name.length - 1);
            const slips = [
              name.slice(0, at) + name.slice(at + 1),
              name.slice(0, at) + other + name.slice(at),
              name.slice(0, at) + name.charAt(at + 1) + name.charAt(at) + name.slice(at + 2),
            ].filter((slip) => slip !== name);
            for (const slip of slips) expect(isNearMiss(slip, name), slip).to.equal(true);
          },
        ),
      );
    });
  });
});

describe('a duration', () => {
  it('is a number and a unit, or a bare number of seconds', () => {
    const pairs = {
      '500ms': 500,
      '30s': 30_000,
      '15m': 900_000,
      '24h': 86_400_000,
      '30d': 2_592_000_000,
      '25': 25_000,
      '1.5s': 1_500,
      0: 0,
    };
    for (const [text, milliseconds] of Object.entries(pairs))
      expect(parseDuration(text), text).to.equal(milliseconds);
  });

  it('is nothing else', () => {
    for (const text of [
      '',
      's',
      '-1s',
      '1 s',
      '1w',
      '1e3',
      'Infinity',
      '999999999999999d',
      '36526d',
      '1s2m',
      '0x10',
    ]) {
      expect(parseDuration(text), text).to.equal(undefined);
    }
  });

  it('reads what it would write (property)', () => {
    fc.assert(
      fc.property(fc.nat(36_525), fc.constantFrom('ms', 's', 'm', 'h', 'd'), (count, unit) => {
        const factor = { ms: 1, s: 1e3, m: 6e4, h: 36e5, d: 864e5 }[unit];
        expect(parseDuration(`${count}${unit}`)).to.equal(count * (factor as number));
      }),
    );
  });
});
