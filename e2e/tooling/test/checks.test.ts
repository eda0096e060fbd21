import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { type Copy, copyCheckout, type Ended } from '../../../scripts/copy.ts';

/** Checks that take seconds: they find all of their faults in one run, each in a file of its own. */
const SLOW_CHECKS = ['types', 'lint', 'dead-code', 'packages', 'releases', 'workflows'];

describe('make check', function () {
  this.timeout(180_000);
  let copy: Copy;

  before(() => {
    copy = copyCheckout();
  });
  after(() => copy.remove());

  it('says which checks there are when asked for one that there is not', async () => {
    const { code, output } = await copy.run('scripts/check.ts', 'spelling');
    expect(output).to.contain('Unknown check: spelling. The checks are types, lint,');
    expect(code).to.equal(2);
  });

  for (const [check, planted] of batches(faults())) {
    describe(check, () => {
      let ended: Ended;
      before(async () => {
        const files = planted.map(([, , files]) => (typeof files === 'function' ? files(copy) : files));
        ended = await copy.with(Object.assign({}, ...files), () => copy.run('scripts/check.ts', check));
      });

      for (const [, title, , said] of planted) {
        it(`finds ${title}`, () => {
          const { code, output } = ended;
          expect(output).to.contain(`FAIL ${check}`);
          for (const part of said) expect(output).to.contain(part);
          expect(output).to.match(/^0 passed, 1 failed$/m);
          expect(code).to.equal(1);
        });
      }
    });
  }

  it('imports: takes no comment and no text for an import', async () => {
    const planted =
      "// import '../../session/src/sessions.ts'\n/* import 'koa'; */\nexport const a = `import 'koa'`;\n";
    const { output } = await copy.with({ 'services/user/src/planted.ts': planted }, () =>
      copy.run('scripts/check.ts', 'imports'),
    );
    expect(output).to.contain('ok   imports');
  });

  it('definitions: `make definitions` fixes what it finds', async () => {
    const file = 'charts/rabbitmq/files/definitions.json';
    await copy.with({ [file]: '{}\n' }, async () => {
      expect((await copy.run('scripts/definitions.ts')).code).to.equal(0);
      expect((await copy.run('scripts/check.ts', 'definitions')).code).to.equal(0);
    });
  });

  it('charts: finds an unknown field, a value that is not refused, a changed number and a null that removes nothing', async function () {
    if (!runs('helm', 'version') || !runs('kubeconform', '-v')) {
      console.log('      skipped: helm or kubeconform is not installed');
      this.skip();
    }
    const workload = 'charts/chassis/templates/_workload.tpl';
    const server = 'charts/postgresql/templates/statefulset.yaml';
    this.timeout(600_000);
    const broker = 'charts/rabbitmq/templates/statefulset.yaml';
    const schema = 'charts/rabbitmq/values.schema.json';
    const open = { ...JSON.parse(copy.read(schema)), additionalProperties: true };
    const planted = {
      [workload]: copy.read(workload).replace('livenessProbe:', 'livelinessProbe:'),
      [server]: copy.read(server).replace('include "postgresql.text" $value', 'toString $value'),
      [broker]: copy
        .read(broker)
        .replace(
          'not .Values.tls.only | ternary "amqp" "amqps"',
          '.Values.tls.only | ternary "amqps" "amqp"',
        ),
      [schema]: JSON.stringify(open),
    };
    const { code, output } = await copy.with(planted, () => copy.run('scripts/check.ts', 'charts'));
    expect(output).to.contain('FAIL charts');
    expect(output).to.contain('charts/rabbitmq with {"planted":1} is accepted, but must be refused');
    expect(output).to.contain('does not say - "max_connections=1000000"');
    expect(output).to.contain('charts/rabbitmq: tls.only is not removed by null (set)');
    expect(output).to.match(/Deployment.*livelinessProbe/);
    expect(code).to.equal(1);
  });

  it('charts: says that it was not run where Helm is missing, and fails nothing', async () => {
    const { PATH } = process.env;
    process.env.PATH = '/nowhere';
    try {
      const { code, output } = await copy.run('scripts/check.ts', 'charts');
      expect(output).to.match(/^skip charts +helm is missing \(https:.*\)$/m);
      expect(output).to.match(/^0 passed, 0 failed, 1 skipped$/m);
      expect(code).to.equal(0);
    } finally {
      process.env.PATH = PATH;
    }
  });

  it('commits: finds a long subject and one without a type', async () => {
    const git = (...args: string[]) => {
      const identity = ['-c', 'user.name=planted', '-c', 'user.email=planted@example.com'];
      const { status, stderr } = spawnSync('git', [...identity, ...args], {
        cwd: copy.root,
        encoding: 'utf8',
      });
      if (status !== 0) throw new Error(stderr);
    };
    const commit = (subject: string) => git('commit', '--quiet', '--allow-empty', '--message', subject);
    git('init', '--quiet');
    commit(`fix: ${'x'.repeat(68)}`);
    commit('Mend what was planted');
    commit('feat(user)!: keep to the rule');
    process.env.COMMITS = 'HEAD';
    try {
      const { code, output } = await copy.run('scripts/check.ts', 'commits');
      expect(output).to.contain('FAIL commits');
      expect(output).to.contain('x” has 73 characters: 72 at most');
      expect(output).to.contain('“Mend what was planted” does not begin like “fix(email): ”');
      expect(output).not.to.contain('keep to the rule');
      expect(code).to.equal(1);
    } finally {
      delete process.env.COMMITS;
      rmSync(join(copy.root, '.git'), { recursive: true });
    }
  });

  it('commits: says that it was not run without a history, and fails nothing', async () => {
    const { code, output } = await copy.run('scripts/check.ts', 'commits');
    expect(output).to.match(/^skip commits +git does not have the commits /m);
    expect(code).to.equal(0);
  });

  it('openapi, asyncapi: `make docs` fixes what they find', async () => {
    const planted = {
      'docs/reference/openapi/user.json': '{}\n',
      'docs/reference/openapi/gone.json': '{}\n',
      'docs/reference/asyncapi.json': undefined,
    };
    await copy.with(planted, async () => {
      for (const script of ['scripts/openapi.ts', 'scripts/asyncapi.ts'])
        expect((await copy.run(script)).code, script).to.equal(0);
      const { output } = await copy.run('scripts/check.ts', 'openapi', 'asyncapi');
      expect(output).to.match(/^2 passed, 0 failed$/m);
    });
  });
});

const runs = (command: string, argument: string) => spawnSync(command, [argument]).status === 0;

type Files = Record<string, string | undefined>;
/** Check, what is planted in words and as files, and what the check has to say. */
type Fault = [string, string, Files | ((copy: Copy) => Files), string[]];

function batches(faults: Fault[]): [string, Fault[]][] {
  const slow = SLOW_CHECKS.map((check): [string, Fault[]] => [check, faults.filter(([of]) => of === check)]);
  const others = faults.filter(([of]) => !SLOW_CHECKS.includes(of));
  return [...slow, ...others.map((fault): [string, Fault[]] => [fault[0], [fault]])];
}

function faults(): Fault[] {
  const user = 'services/user/src/planted.ts';
  const another = 'services/user/src/another.ts';
  const chassis = 'packages/chassis/src/planted.ts';
  const contracts = 'packages/contracts/src/planted.ts';
  const events = 'packages/events/src/planted.ts';

  return [
    ['types', 'a wrong type', { [user]: "export const port: number = 'three';\n" }, [user, 'TS2322']],
    [
      'types',
      'syntax that Node.js cannot strip',
      { [another]: 'export enum Color {\n  Red,\n}\n' },
      [another, 'TS1294'],
    ],
    [
      'types',
      'a wrong type in a test',
      { 'services/user/test/planted.test.ts': "it('runs', 3);\n" },
      ['planted.test.ts'],
    ],
    [
      'types',
      'a wrong type in a script',
      { 'scripts/planted.ts': 'export const one: string = 1;\n' },
      ['scripts/planted.ts'],
    ],
    [
      'types',
      'a wrong type in the benchmark',
      { 'bench/src/planted.ts': 'export const one: string = 1;\n' },
      ['bench/src/planted.ts'],
    ],

    [
      'lint',
      'an import that nothing uses',
      { [user]: "import { join } from 'node:path';\n\nexport {};\n" },
      [user, 'noUnusedImports'],
    ],
    ['lint', 'another format', { [another]: 'export const planted = "double"\n' }, [another, 'format']],
    [
      'lint',
      'a test that shuts out the others',
      { 'services/user/test/planted.test.ts': "it.only('runs', () => {});\n" },
      ['noFocusedTests'],
    ],

    [
      'dead-code',
      'a file that nothing imports',
      { [user]: 'export const nobody = 1;\n' },
      ['Unused files', 'src/planted.ts'],
    ],
    [
      'dead-code',
      'an export that nothing imports',
      (copy) => ({
        [user.replace('planted', 'config')]:
          `${copy.read('services/user/src/config.ts')}export const spare = 1;\n`,
      }),
      ['Unused exports', 'spare'],
    ],
    [
      'dead-code',
      'a dependency that nothing imports',
      (copy) => manifest(copy, 'services/user', 'dependencies', 'left-pad', '^1.3.0'),
      ['Unused dependencies', 'left-pad'],
    ],
    [
      'dead-code',
      'a dependency that package.json does not name',
      { 'services/user/test/planted.test.ts': "import 'right-pad';\n" },
      ['Unlisted dependencies', 'right-pad'],
    ],

    [
      'imports',
      'a service that imports another by path',
      { [user]: "import '../../session/src/sessions.ts';\n" },
      [`${user}:1 imports '../../session/src/sessions.ts': only services/session may import its own files`],
    ],
    [
      'imports',
      'a service that imports another by name',
      { [user]: "import 'session';\n" },
      [`${user}:1 imports 'session': only services/session may import its own files`],
    ],
    [
      'imports',
      'a service that depends on another',
      (copy) => manifest(copy, 'services/user', 'dependencies', 'session', 'file:../session'),
      ["services/user/package.json depends on 'session'"],
    ],
    [
      'imports',
      'a type imported from another service',
      { [user]: "\nexport type { Session } from '../../session/src/sessions.ts';\n" },
      [`${user}:2 imports`],
    ],
    [
      'imports',
      'a service loaded while the program runs',
      { [user]: "export const load = () => import('../../session/src/sessions.ts');\n" },
      [`${user}:1 imports`],
    ],
    [
      'imports',
      'a type taken from another service in passing',
      { [user]: "export type Session = import('../../session/src/sessions.ts').Session;\n" },
      [`${user}:1 imports`],
    ],
    [
      'imports',
      'a service that reaches into a package by path',
      { [user]: "import '../../../packages/chassis/src/index.ts';\n" },
      ['it is outside of services/user'],
    ],
    [
      'imports',
      "a service that imports a package's files",
      { [user]: "import '@warren/chassis/src/index.ts';\n" },
      ['import the exports of @warren/chassis, not its files'],
    ],
    [
      'imports',
      'a folder of the chassis that imports one that it may not',
      { 'packages/chassis/src/http/planted.ts': "\nimport '../rpc/server.ts';\n" },
      ["packages/chassis/src/http/planted.ts:2 imports 'rpc/server.ts': http may import auth,"],
    ],
    [
      'imports',
      'a file of the chassis that everything imports, and that imports a folder',
      (copy) => ({
        'packages/chassis/src/socket.ts': `import './auth/caller.ts';\n${copy.read('packages/chassis/src/socket.ts')}`,
      }),
      ["packages/chassis/src/socket.ts:1 imports 'auth/caller.ts': socket.ts may import the files of base"],
    ],
    [
      'imports',
      'a folder of the chassis without a floor',
      { 'packages/chassis/src/planted/planted.ts': "import '../errors.ts';\n" },
      ['planted has no floor: add it to scripts/check-floors.ts'],
    ],
    [
      'imports',
      'files of the chassis that import each other in a circle, by types alone',
      {
        'packages/chassis/src/auth/planted.ts': "import type {} from './planted-b.ts';\n",
        'packages/chassis/src/auth/planted-b.ts': "export type {} from './planted-c.ts';\n",
        'packages/chassis/src/auth/planted-c.ts': "export type C = import('./planted.ts').C;\n",
      },
      [
        ['planted-b', 'planted-c', 'planted', 'planted-b']
          .map((name) => `packages/chassis/src/auth/${name}.ts`)
          .join(' → '),
        'is a circle',
      ],
    ],
    [
      'imports',
      'a service that imports koa',
      { [user]: "import Koa from 'koa';\n" },
      ['only through @warren/chassis'],
    ],
    [
      'imports',
      'a service that imports joi',
      { [user]: "import Joi from 'joi';\n" },
      ['only through @warren/events'],
    ],
    [
      'imports',
      'a service that imports the testkit',
      { [user]: "import '@warren/testkit';\n" },
      ['only tests and benchmarks may import the testkit'],
    ],
    [
      'imports',
      'a chassis that knows a service',
      { [chassis]: "import '../../../services/user/src/users.ts';\n" },
      ['only services/user may import its own files'],
    ],
    [
      'imports',
      'contracts that import the chassis',
      { [contracts]: "import '@warren/chassis';\n" },
      ["imports '@warren/chassis': packages/contracts may import @warren/events"],
    ],
    [
      'imports',
      "a chassis that knows the shop's events",
      { [chassis]: "import '@warren/contracts';\n" },
      ["imports '@warren/contracts': packages/chassis may import @warren/events"],
    ],
    [
      'imports',
      "an edge that knows the shop's events",
      { 'packages/edge/src/planted.ts': "import '@warren/contracts';\n" },
      ["imports '@warren/contracts': packages/edge may import @warren/chassis"],
    ],
    [
      'imports',
      'events that import the chassis',
      { [events]: "import '@warren/chassis';\n" },
      ['packages/events may import no package of this repository'],
    ],

    [
      'packages',
      'an export that the report lacks',
      (copy) => ({
        'packages/edge/src/index.ts': `${copy.read('packages/edge/src/index.ts')}export const planted = 1;\n`,
      }),
      ['docs/reference/api/edge.md is out of date: run `make docs`'],
    ],
    [
      'packages',
      'an entry point without its file',
      (copy) => {
        const manifest = JSON.parse(copy.read('packages/contracts/package.json'));
        manifest.exports['./planted'] = { types: './src/nowhere.ts', default: './src/nowhere.ts' };
        return { 'packages/contracts/package.json': JSON.stringify(manifest) };
      },
      [
        'packages/contracts: publint: pkg.exports["./planted"].types is ./dist/nowhere.d.ts but the file does not exist',
        'packages/contracts: Are The Types Wrong: NoResolution {"entrypoint":"./planted","resolutionKind":"node16-esm"}',
      ],
    ],
    [
      'packages',
      'a file in the tarball that nobody needs',
      (copy) => {
        const manifest = JSON.parse(copy.read('packages/events/package.json'));
        return { 'packages/events/package.json': JSON.stringify({ ...manifest, files: ['src', 'test'] }) };
      },
      ['packages/events: the tarball holds test/envelope.test.ts, which nobody needs'],
    ],
    [
      'packages',
      'a declaration that imports a package for development',
      { 'packages/contracts/src/planted.ts': "export type { IProperty } from 'fast-check';\n" },
      ['packages/contracts: the declarations import fast-check, which is not a dependency'],
    ],
    [
      'packages',
      'a manifest without a licence',
      (copy) => {
        const { license: _, ...manifest } = JSON.parse(copy.read('packages/testkit/package.json'));
        return { 'packages/testkit/package.json': JSON.stringify(manifest) };
      },
      ['packages/testkit: package.json lacks “license”'],
    ],

    [
      'releases',
      'a version without an entry in the changelog',
      (copy) => {
        const manifest = JSON.parse(copy.read('services/user/package.json'));
        return { 'services/user/package.json': JSON.stringify({ ...manifest, version: '0.1.1' }) };
      },
      [
        'services/user: its version is 0.1.1, and CHANGELOG.md ends with 0.1.0',
        'services/user: package-lock.json says 0.1.0, and package.json 0.1.1: run npm install',
        'charts/user: appVersion is 0.1.0, and services/user has 0.1.1: change it, and release the chart',
      ],
    ],
    [
      'releases',
      'a release without a date',
      (copy) => ({
        'charts/email/CHANGELOG.md': copy.read('charts/email/CHANGELOG.md').replace(/ - \d{4}-\d\d-\d\d/, ''),
      }),
      ['charts/email: CHANGELOG.md has no date for 0.1.0: write “## [0.1.0] - YYYY-MM-DD”'],
    ],
    [
      'releases',
      'a chart on another version of the library chart',
      (copy) => ({
        'charts/order/Chart.yaml': copy
          .read('charts/order/Chart.yaml')
          .replace('    version: 0.1.0', '    version: 0.0.9'),
      }),
      ['charts/order: it depends on chassis 0.0.9, and charts/chassis has 0.1.0'],
    ],

    [
      'workflows',
      'an action that is pinned by its tag',
      (copy) => ({
        '.github/workflows/ci.yml': copy
          .read('.github/workflows/ci.yml')
          .replace(/actions\/setup-go@\w+ # \S+/, 'actions/setup-go@v6'),
      }),
      ['uses actions/setup-go@v6: pin it by its commit, with the version in a comment'],
    ],
    [
      'workflows',
      'permissions of all jobs',
      (copy) => ({
        '.github/workflows/mutants.yml': copy
          .read('.github/workflows/mutants.yml')
          .replace('permissions: {}', 'permissions: write-all'),
      }),
      ['.github/workflows/mutants.yml gives permissions to all jobs'],
    ],

    [
      'lockfiles',
      'a host',
      (copy) => ({
        'services/user/package-lock.json': copy
          .read('services/user/package-lock.json')
          .replace('"integrity":', '"resolved": "https://registry.example/chai.tgz",\n      "integrity":'),
      }),
      ['services/user/package-lock.json contains a host (https://registry.example/chai.tgz)'],
    ],
    [
      'lockfiles',
      'a lockfile for some platforms alone',
      (copy) => {
        const lockfile = JSON.parse(copy.read('package-lock.json'));
        delete lockfile.packages['node_modules/@biomejs/cli-darwin-arm64'];
        return { 'package-lock.json': JSON.stringify(lockfile) };
      },
      [
        'package-lock.json lacks packages that @biomejs/biome needs on other platforms (@biomejs/cli-darwin-arm64)',
      ],
    ],
    [
      'lockfiles',
      'a lockfile that is not there',
      { 'services/user/package-lock.json': undefined },
      ['services/user/package-lock.json is missing'],
    ],
    [
      'lockfiles',
      'a lockfile that is behind a shared package',
      (copy) => {
        const manifest = JSON.parse(copy.read('packages/events/package.json'));
        manifest.dependencies.planted = '^1.0.0';
        return { 'packages/events/package.json': JSON.stringify(manifest) };
      },
      ['services/user/package-lock.json is older than packages/events/package.json'],
    ],
    [
      'lockfiles',
      'a registry in an .npmrc',
      (copy) => ({
        'services/user/.npmrc': `${copy.read('services/user/.npmrc')}registry=https://registry.example\n`,
      }),
      ['services/user/.npmrc sets a registry'],
    ],

    [
      'definitions',
      'a service that the file does not know',
      {
        'services/planted/package.json': '{ "name": "planted" }\n',
        'services/planted/src/broker.ts': `import { defineBroker } from '../../../packages/chassis/src/index.ts';
export const broker = defineBroker('planted', { vhosts: { publish: {} } });
`,
      },
      ["charts/rabbitmq/files/definitions.json differs from the services' broker.ts", 'make definitions'],
    ],
    [
      'definitions',
      'a permission changed by hand',
      (copy) => {
        const file = 'charts/rabbitmq/files/definitions.json';
        return { [file]: copy.read(file).replace('"configure": "^user', '"configure": ".*') };
      },
      ["differs from the services' broker.ts"],
    ],
    [
      'definitions',
      "a service that declares another's queue",
      (copy) => {
        const file = 'services/session/src/broker.ts';
        return { [file]: copy.read(file).replaceAll('session.user.created', 'order.user.created') };
      },
      ["broker.ts of session: 'order.user.created' has to be named 'session.user.created'"],
    ],
    [
      'definitions',
      'a service that declares the broker objects of another',
      (copy) => ({ 'services/user/src/broker.ts': copy.read('services/session/src/broker.ts') }),
      ['services/user/src/broker.ts is of the service session: name user in it'],
    ],

    [
      'openapi',
      'a route that is told otherwise than it is',
      (copy) => {
        const file = 'services/session/src/routes.ts';
        return {
          [file]: copy.read(file).replace('Joi.string().isoDate().required()', 'Joi.string().required()'),
        };
      },
      [
        'docs/reference/openapi/session.json is out of date: run `make docs`',
        'docs/reference/openapi/warren.json is out of date',
      ],
    ],
    [
      'openapi',
      'a service that nobody wrote about',
      {
        'services/planted/package.json': '{ "name": "planted" }\n',
        'services/planted/src/service.ts': "export const service = { name: 'planted', version: '1' };\n",
      },
      ['docs/reference/openapi/planted.json is out of date'],
    ],
    [
      'openapi',
      'a document of a service that is no more, which keeps to no standard either',
      { 'docs/reference/openapi/gone.json': '{ "openapi": "3.1.0", "info": { "title": "gone" } }\n' },
      [
        'docs/reference/openapi/gone.json belongs to no service: run `make docs` to remove it',
        'The field `version` must be present',
      ],
    ],
    [
      'asyncapi',
      'a document changed by hand',
      (copy) => {
        const file = 'docs/reference/asyncapi.json';
        return { [file]: copy.read(file).replace('Published by user', 'Published by nobody') };
      },
      ['docs/reference/asyncapi.json is out of date: run `make docs`'],
    ],
    [
      'asyncapi',
      'a service that consumes one event less',
      (copy) => {
        const file = 'services/session/src/broker.ts';
        return {
          [file]: copy.read(file).replace(/^ +'session.user.created': .*\n/m, ''),
        };
      },
      ['docs/reference/asyncapi.json is out of date'],
    ],
    [
      'asyncapi',
      'an event that no contract declares',
      {
        'services/planted/package.json': '{ "name": "planted" }\n',
        'services/planted/src/broker.ts': `import { defineBroker } from '../../../packages/chassis/src/index.ts';
const grown = { routingKey: 'planted.grown.v1' };
export const broker = defineBroker('planted', {
  vhosts: { publish: { publications: { 'planted.grown.v1': grown } } },
});
`,
      },
      ['services/planted/src/broker.ts publishes planted.grown.v1, which no contract declares'],
    ],
    [
      'asyncapi',
      'what keeps to no standard',
      (copy) => ({ 'package.json': copy.read('package.json').replace('"version": "0.1.0"', '"version": 1') }),
      ['docs/reference/asyncapi.json: info.version'],
    ],

    [
      'reference',
      'a remedy that the page does not have',
      (copy) => {
        const file = 'packages/chassis/src/errors.ts';
        return { [file]: copy.read(file).replace("remedy: '", "remedy: 'Planted. ") };
      },
      ['docs/reference/errors.md is out of date: run `make docs`'],
    ],
    [
      'reference',
      'another default, another prefetch and another metric',
      (copy) => ({
        'services/session/src/config.ts': copy
          .read('services/session/src/config.ts')
          .replace("default('24h')", "default('23h')"),
        'packages/chassis/src/telemetry/metrics.ts': copy
          .read('packages/chassis/src/telemetry/metrics.ts')
          .replace("'events_consumed_total'", "'events_taken_total'"),
        'services/session/src/broker.ts': copy
          .read('services/session/src/broker.ts')
          .replace('prefetch: 200', 'prefetch: 201'),
      }),
      [
        'docs/reference/configuration.md is out of date',
        'docs/reference/metrics.md is out of date',
        'docs/reference/broker.md is out of date',
      ],
    ],
    [
      'reference',
      'a variable that nobody describes',
      (copy) => {
        const file = 'services/session/src/config.ts';
        return { [file]: copy.read(file).replace('.description(', '.note(') };
      },
      ['SESSION_TTL has no description'],
    ],
    [
      'reference',
      'a code that the page lacks, and one that no source file has',
      (copy) => {
        const page = 'docs/reference/errors.md';
        return {
          [user]: "export const planted = { code: 'user_planted' };\n",
          [page]: copy.read(page).replace('`email_taken`', '`email_gone`'),
        };
      },
      [
        `docs/reference/errors.md does not have the code user_planted of ${user}`,
        'docs/reference/errors.md does not have the code email_taken of services/user/src/routes.ts',
        'docs/reference/errors.md has the code email_gone, which no source file has',
      ],
    ],
    [
      'docs',
      'a link to a page or heading that does not exist',
      (copy) => ({
        'docs/planted.md':
          '# Planted\n\n[one](gone.md), [two](README.md#gone), [three](#planted), [four](README.md)\n',
        'docs/README.md': `${copy.read('docs/README.md')}\n[five](planted.md#planted)\n`,
      }),
      [
        'docs/planted.md:3 links to gone.md: the file does not exist',
        'docs/planted.md:3 links to README.md#gone: the page has no such heading',
      ],
    ],
    [
      'docs',
      'quoted code that its file does not have',
      {
        'docs/planted.md':
          '```ts services/user/src/main.ts\nconst planted = 1;\n```\n\n```ts services/user/src/gone.ts\n```\n',
      },
      [
        'docs/planted.md:1 quotes services/user/src/main.ts, which does not have: const planted = 1;',
        'docs/planted.md:5 quotes services/user/src/gone.ts: the file does not exist',
      ],
    ],
    [
      'docs',
      'a word that readers stumble over, in a page, a string or a value',
      (copy) => ({
        'docs/planted.md': 'A consumer hears it. There is no `hears` here, and it is no longer `away`.\n',
        [user]: "export const planted = 'the broker is away';\n",
        'charts/user/values.yaml': `${copy.read('charts/user/values.yaml')}# Whoever mends it\n`,
      }),
      [
        'docs/planted.md:1 says “hears”: consume, subscribe',
        `${user}:1 says “is away”: unavailable`,
        'says “Whoever”: the name of the caller, user or service',
        'says “mends”: fix',
      ],
    ],

    [
      'alerts',
      'an alert without a runbook',
      (copy) => {
        const file = 'charts/rabbitmq/templates/monitoring.yaml';
        return { [file]: copy.read(file).replace(/^ +runbook_url:.*\n/m, '') };
      },
      ['charts/rabbitmq/templates/monitoring.yaml: the alert RabbitMQNodesAway has no runbook'],
    ],
    [
      'alerts',
      'an alert whose runbook does not exist',
      (copy) => {
        const file = 'docs/reference/alerts.md';
        return { [file]: copy.read(file).replace('### WarrenTasksFail', '### WarrenTasksWait') };
      },
      [
        'the runbook docs/reference/alerts.md#warrentasksfail of the alert WarrenTasksFail does not exist',
        'docs/reference/alerts.md describes WarrenTasksWait, which is not an alert of a chart',
      ],
    ],
    [
      'alerts',
      'an alert on a counter without a runbook',
      (copy) => {
        const file = 'charts/order/values.yaml';
        return { [file]: copy.read(file).replace(/^ +runbook:.*\n/m, '') };
      },
      ['charts/order/values.yaml: the alert WarrenPaymentUnfit has no runbook'],
    ],
  ];
}

function manifest(copy: Copy, directory: string, kind: string, name: string, range: string): Files {
  const file = `${directory}/package.json`;
  const content = JSON.parse(copy.read(file));
  content[kind] = { ...content[kind], [name]: range };
  return { [file]: `${JSON.stringify(content, null, 2)}\n` };
}
