import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import {
  eventually,
  freePorts,
  type Probe,
  type RunningProcess,
  startProcess,
  withBroker,
  withDatabase,
} from '@warren/testkit';
import { expect } from 'chai';
import { FILL, openWriter, prepare, type Writer } from './fixtures/relay.ts';

const execute = promisify(execFile);

interface Replica {
  process: RunningProcess;
  /** Of its relay, as /readyz tells. */
  role(): Promise<string>;
}

describe('a relay that stands by', function () {
  this.timeout(90_000);
  const database = withDatabase();
  const broker = withBroker({ services: ['alpha'] });
  const replicas: Replica[] = [];
  let probe: Probe;
  let writer: Writer;

  before(() => prepare(database.url));
  beforeEach(async () => {
    await database.admin('truncate warren.outbox, counters');
    probe = await broker.probe('events', 'alpha.#');
    writer = await openWriter(database.url);
  });
  afterEach(async () => {
    await Promise.all(replicas.splice(0).map(({ process }) => process.kill('SIGKILL')));
    await writer.close();
    await probe.close();
  });

  const launch = async () => {
    const [port, adminPort] = (await freePorts(2)) as [number, number];
    const process = startProcess({
      cwd: fileURLToPath(new URL('..', import.meta.url)),
      entry: 'test/fixtures/alpha-process.ts',
      env: { PORT: port, ADMIN_PORT: adminPort, AMQP_URL: broker.url('alpha'), DATABASE_URL: database.url },
    });
    const role = async () =>
      ((await (await fetch(`http://127.0.0.1:${adminPort}/readyz`)).json()) as { relay: string }).relay;
    const replica = { process, role };
    replicas.push(replica);
    await process.ready();
    return replica;
  };
  /** One that is active, and one that stands by. */
  const pair = async () => {
    const [first, second] = [replicas[0] ?? (await launch()), replicas[1] ?? (await launch())];
    return eventually(async () => {
      const roles = [await first.role(), await second.role()];
      if (roles.join() === 'active,standby') return [first, second] as const;
      return roles.join() === 'standby,active' && ([second, first] as const);
    });
  };
  /** Commits events of three aggregates all the time, one after the other. */
  const write = () => {
    const commits: Record<string, number> = {};
    let going = true;
    const running = (async () => {
      for (let i = 0; going; i += 1) {
        const aggregate = `a${i % 3}`;
        commits[aggregate] = await writer.next(aggregate);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    })();
    return async () => {
      going = false;
      await running;
      return commits;
    };
  };
  /** ms from now on until the next event. */
  const gap = async (since: number, timeout: number) => {
    const found = () => probe.events.find(({ at }) => at > since + 150); // what was on its way is not the stand-by's
    await eventually(() => found() !== undefined, { timeout, interval: 10 });
    return (found()?.at as number) - since;
  };
  const allCame = async (commits: Record<string, number>) => {
    await eventually(
      async () => expect(await database.admin('select 1 from warren.outbox')).to.have.length(0),
      { timeout: 20_000 },
    );
    // The broker confirms an event before the probe has it.
    const distinct = () => new Set(probe.events.map(({ properties }) => properties.messageId));
    const total = Object.values(commits).reduce((sum, count) => sum + count, 0);
    await eventually(() => expect(distinct().size).to.equal(total));
    const seen = new Set<string>();
    const came: Record<string, number[]> = {};
    for (const { properties, body } of probe.events) {
      if (seen.has(properties.messageId)) continue;
      seen.add(properties.messageId);
      const texts = came[body.subject] ?? [];
      texts.push(Number(body.data.text));
      came[body.subject] = texts;
    }
    for (const [aggregate, count] of Object.entries(commits))
      expect(came[aggregate], aggregate).to.deep.equal(Array.from({ length: count }, (_, i) => i + 1));
    return probe.events.length - seen.size;
  };

  it('publishes within 2 s of the death of the active process: none lost, each aggregate in order', async () => {
    const stop = write();
    const gaps: number[] = [];
    for (let round = 0; round < 3; round += 1) {
      const [active] = await pair();
      const killed = Date.now();
      await active.process.kill('SIGKILL');
      gaps.push(await gap(killed, 10_000));
      replicas.splice(replicas.indexOf(active), 1);
    }
    const twice = await allCame(await stop());
    console.log(`        ${gaps.join(' ms, ')} ms after SIGKILL; ${twice} events came twice`);
    expect(Math.max(...gaps)).to.be.below(4_000);
  });

  it('publishes within 2 s when the active process loses its database connection', async () => {
    const stop = write();
    await pair();
    const since = Date.now();
    const ended = await database.admin(
      `select pg_terminate_backend(pid) from pg_stat_activity
       where datname = current_database() and application_name = 'alpha relay'
         and pid in (select pid from pg_locks where locktype = 'advisory' and granted)`,
    );
    expect(ended).to.have.length(1);
    const took = await gap(since, 10_000);
    const twice = await allCame(await stop());
    console.log(`        ${took} ms after its backend was terminated; ${twice} events came twice`);
    expect(took).to.be.below(4_000);
  });

  it('loses no event when the active process dies in the middle of thousands', async () => {
    const [active] = await pair();
    await database.admin(FILL, [20_000, 9]);
    await eventually(() => probe.events.length > 2_000, { interval: 5 });
    await active.process.kill('SIGKILL');
    const commits = Object.fromEntries(
      Array.from({ length: 9 }, (_, n) => [`a${n}`, Math.ceil((20_000 - n) / 9)]),
    );
    const twice = await allCame(commits);
    console.log(`        ${twice} of 20,000 events came twice`);
  });

  it('publishes within 10 s when the host of the active process has vanished from the network', async function () {
    const why = await noFirewall();
    if (why !== undefined) {
      console.log(`        passed over: ${why}`);
      this.skip();
    }
    const stop = write();
    const [active] = await pair();
    // Nothing from its connections arrives any longer, and nothing reaches them: neither an end nor an error.
    const rules = await vanish(active.process.pid);
    try {
      const took = await gap(Date.now(), 25_000);
      console.log(`        ${took} ms after its host vanished`);
      expect(took).to.be.below(20_000);
      await allCame(await stop());
    } finally {
      for (const rule of rules) await firewall(['-D', ...rule]);
      await stop();
    }
  });

  const firewall = (parameters: string[]) => execute('iptables', ['-w', ...parameters]);
  const noFirewall = async () => {
    if (process.platform !== 'linux' || process.getuid?.() !== 0)
      return 'dropping packets takes root, on Linux';
    try {
      await firewall(['-S', 'INPUT']);
      await execute('ss', ['-V']);
      return undefined;
    } catch (error) {
      return `iptables or ss cannot be used here: ${(error as Error).message.split('\n')[0]}`;
    }
  };
  /** Drops every packet of the TCP connections that a process has opened. */
  const vanish = async (pid: number): Promise<string[][]> => {
    const { stdout } = await execute('ss', ['-Htnp', 'state', 'established']);
    const rules = stdout
      .split('\n')
      .filter((line) => line.includes(`pid=${pid},`))
      .flatMap((line) => {
        const [, , local, remote] = line.trim().split(/\s+/) as [string, string, string, string];
        const port = (address: string) => address.slice(address.lastIndexOf(':') + 1);
        const tcp = ['INPUT', '-i', 'lo', '-p', 'tcp'];
        return [
          [...tcp, '--sport', port(local), '--dport', port(remote), '-j', 'DROP'],
          [...tcp, '--sport', port(remote), '--dport', port(local), '-j', 'DROP'],
        ];
      });
    expect(rules).to.have.length.above(3);
    for (const rule of rules) await firewall(['-I', ...rule]);
    return rules;
  };
});
