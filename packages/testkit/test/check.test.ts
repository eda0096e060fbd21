import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { checkContract } from '../src/check/run.ts';
import { eventually } from '../src/eventually.ts';
import { withDatabase } from '../src/postgres/with-database.ts';
import { startProcess } from '../src/process.ts';
import { managementOf } from '../src/rabbitmq/management.ts';
import { withBroker } from '../src/rabbitmq/with-broker.ts';
import { checkForeign, foreignOptions, SERVICES } from './fixtures/foreign/check.ts';

const cli = fileURLToPath(new URL('../src/cli.ts', import.meta.url));

describe('the contract kit', function () {
  this.timeout(120_000);
  const broker = withBroker({ services: SERVICES });
  const database = withDatabase();
  let directory: string;

  before(() => {
    directory = mkdtempSync(join(tmpdir(), 'warren-check-'));
  });
  after(() => rmSync(directory, { recursive: true, force: true }));

  const file = (name: string, content: object | string): string => {
    const path = join(directory, name);
    writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
    return path;
  };
  const sample = () => file('sample.json', { orderId: randomUUID(), productName: 'Tea', price: 4.5 });
  const run = (...args: string[]) =>
    new Promise<{ code: number; stdout: string; stderr: string }>((resolve) => {
      const env = {
        PATH: process.env.PATH,
        AMQP_URL: broker.adminUrl,
        AMQP_MANAGEMENT_URL: broker.managementUrl,
      };
      execFile(process.execPath, [cli, ...args], { env }, (error, stdout, stderr) =>
        resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
      );
    });

  it('finds that a service in plain amqplib and pg keeps the contract', async () => {
    const { checks, kept } = await checkForeign(broker, database);
    expect(checks.filter(({ verdict }) => verdict !== 'kept')).to.deep.equal([]);
    expect(kept).to.equal(true);
  });

  it('leaves no message, queue or user of its own behind', async () => {
    for (const queue of ['foreign.order.confirmed', 'foreign.order.confirmed.dlq', 'foreign.retry.60ms'])
      expect(await broker.queueDepth(queue), queue).to.equal(0);
    const permissions = await managementOf({
      url: broker.adminUrl,
      managementUrl: broker.managementUrl,
    }).request<{ user: string }[]>('GET', `vhosts/${broker.vhost}/permissions`);
    expect(
      permissions?.map(({ user }) => user).filter((user) => user.startsWith('contract-kit-')),
    ).to.deep.equal([]);
  });

  it('keeps the dead letters that were there before', async () => {
    await broker.publish('foreign.return', 'foreign.order.confirmed.dlq', 'another letter', {}, 'foreign');
    await checkContract({ ...foreignOptions(broker, database), only: ['poison'] });
    const letters = await broker.get('foreign.order.confirmed.dlq', { remove: true });
    expect(letters.map(({ content }) => content.toString())).to.deep.equal(['another letter']);
  });

  it('says in words what it cannot check in a service that it has not started', async () => {
    const { start, ...options } = foreignOptions(broker, database);
    const { env } = start as { env: Record<string, string> };
    const entry = fileURLToPath(new URL('fixtures/foreign/main.ts', import.meta.url));
    const service = startProcess({ cwd: directory, entry, env });
    try {
      const { checks } = await eventually(() => checkContract({ ...options, only: ['crash', 'drain'] }));
      const unchecked = checks.filter(({ verdict }) => verdict === 'not checked');
      expect(unchecked.map(({ check }) => check)).to.deep.equal(['crash', 'drain']);
      expect(unchecked[0]?.reasons[0]).to.contain('give --start "COMMAND"');
    } finally {
      await service.kill('SIGTERM');
    }
  });

  it('prints a report for people, and ends with 0', async () => {
    const { code, stdout, stderr } = await run(
      ...['check', '--queue', 'foreign.order.confirmed', '--sample', sample(), '--only', 'forged'],
      ...['--contract', fileURLToPath(new URL('fixtures/foreign/contract.ts', import.meta.url))],
      ...['--start', startCommand(), '--effects-event', 'foreign.points.v1'],
    );
    expect(stderr).to.equal('');
    expect(stdout).to.match(/^foreign\.order\.confirmed, consumed by the user .*\.foreign at /);
    expect(stdout)
      .to.match(/^kept +forged/m)
      .and.to.contain('2 kept, 0 broken, 0 not checked');
    expect(code).to.equal(0);
  });

  it('prints the report as JSON, and ends with 1 if the contract is broken', async () => {
    const { code, stdout } = await run(
      ...['check', '--queue', 'foreign.order.confirmed', '--sample', sample(), '--only', 'forged', '--json'],
      ...['--start', `FAULT=ignores-user-id ${startCommand()}`],
    );
    const report = JSON.parse(stdout);
    expect(report.kept).to.equal(false);
    expect(report.checks.at(-1)).to.include({ check: 'forged', verdict: 'broken' });
    expect(report.checks.at(-1).reasons[0]).to.contain('was not dead-lettered');
    expect(code).to.equal(1);
  });

  it('ends with 1 after an incomplete check only if it is strict', async () => {
    const args = ['check', '--queue', 'foreign.order.confirmed', '--sample', sample(), '--only', 'failing'];
    const incomplete = await run(...args, '--start', startCommand());
    expect(incomplete.stdout).to.contain('not checked  failing').and.to.contain('give --failing FILE');
    expect(incomplete.code).to.equal(0);
    expect((await run(...args, '--strict', '--start', startCommand())).code).to.equal(1);
  });

  const startCommand = () =>
    `AMQP_URL='${broker.url('foreign')}' DATABASE_URL='${database.url}' exec ${process.execPath} ${fileURLToPath(new URL('fixtures/foreign/main.ts', import.meta.url))}`;

  describe('given wrong arguments', () => {
    const queue = ['check', '--queue', 'foreign.order.confirmed'];
    const cases: Record<string, () => [string[], string]> = {
      'an unknown command': () => [['verify'], "there is no command 'verify'"],
      'an unknown option': () => [['check', '--quick'], "Unknown option '--quick'"],
      'no queue': () => [['check'], 'give --queue SERVICE.TYPE'],
      'a queue of another form': () => [
        ['check', '--queue', 'orders'],
        "the queue 'orders' has to be named SERVICE.TYPE",
      ],
      'no sample': () => [queue, 'give --sample FILE'],
      'a sample that is missing': () => [
        [...queue, '--sample', 'none.json'],
        '--sample: cannot read none.json',
      ],
      'a sample that is not an object': () => [
        [...queue, '--sample', file('list.json', '[]')],
        'has to hold a JSON object',
      ],
      'a contract that is missing': () => [
        [...queue, '--sample', sample(), '--contract', './none.ts'],
        '--contract: cannot load ./none.ts',
      ],
      'an unknown check': () => [
        [...queue, '--sample', sample(), '--only', 'speed'],
        "there is no check 'speed'",
      ],
      'a method without a request': () => [
        ['check', '--method', 'a.b.v1'],
        '--method and --request belong together',
      ],
      'a wrong number': () => [
        [...queue, '--sample', sample(), '--load', 'many'],
        "--load: 'many' has to be",
      ],
      'an unreachable broker': () => [
        [...queue, '--sample', sample(), '--broker', 'amqp://127.0.0.1:1'],
        'cannot connect to the broker at 127.0.0.1:1',
      ],
      'a broker URL of another form': () => [
        [...queue, '--sample', sample(), '--broker', 'localhost'],
        'the broker has to be a URL',
      ],
      'a user who is not an administrator': () => [
        [...queue, '--sample', sample(), '--broker', broker.url('order')],
        "the broker's URL has to be that of an administrator",
      ],
      'a service that does not run': () => [
        [...queue, '--sample', sample()],
        'nothing consumes foreign.order.confirmed: start the service',
      ],
      'a command that does not start a service': () => [
        [...queue, '--sample', sample(), '--start', 'echo it cannot start; exit 3'],
        'the service ended, and nothing consumes foreign.order.confirmed: it cannot start',
      ],
    };

    for (const [what, given] of Object.entries(cases))
      it(`ends with 2 and one sentence: ${what}`, async () => {
        const [args, message] = given();
        const { code, stderr } = await run(...args);
        expect(stderr).to.contain(`testkit: `).and.to.contain(message);
        expect(stderr.trim().split('\n')).to.have.lengthOf(1);
        expect(code).to.equal(2);
      });

    it('explains its options and shows examples with --help', async () => {
      const { code, stdout } = await run('check', '--help');
      expect(stdout)
        .to.contain('--effects-sql SQL')
        .and.to.contain('Examples:')
        .and.to.contain('Exit codes: 0');
      expect(code).to.equal(0);
    });
  });
});
