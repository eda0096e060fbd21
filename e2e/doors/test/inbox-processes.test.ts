// Consumers that die, stop and share a queue, against a real broker and a real database.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { migrate } from '@warren/chassis/migrations';
import {
  eventually,
  message,
  type RunningProcess,
  startProcess,
  withBroker,
  withDatabase,
} from '@warren/testkit';
import { expect } from 'chai';
import { THINGS, thingSaved } from './fixtures/things.ts';

const QUEUE = 'shelf.thing.saved';

for (const driver of ['pg', 'TypeORM'])
  describe(`consumers on ${driver}, as processes`, function () {
    this.timeout(90_000);
    let directory: string;
    const running: RunningProcess[] = [];
    afterEach(async () => {
      await Promise.all(running.splice(0).map((each) => each.kill('SIGKILL')));
    });
    after(() => rmSync(directory, { recursive: true, force: true }));
    const broker = withBroker({ services: ['thing', 'shelf'] });
    const database = withDatabase();

    before(async () => {
      directory = mkdtempSync(join(tmpdir(), 'warren-doors-'));
      await migrate(database.url);
      await database.admin(`${THINGS}; grant all on things to public`);
    });
    beforeEach(() => database.admin('truncate things, warren.inbox'));

    const start = async (env: Record<string, string> = {}) => {
      const process = startProcess({
        cwd: fileURLToPath(new URL('../', import.meta.url)),
        entry: 'test/fixtures/shelf-process.ts',
        env: { DRIVER: driver, AMQP_URL: broker.url('shelf'), DATABASE_URL: database.url, ...env },
      });
      running.push(process);
      if (env.DIES === undefined) await lines(process, 'ready', 1);
      return process;
    };
    const lines = (process: RunningProcess, line: string, count: number) =>
      eventually(() => expect(process.output.filter((each) => each === line)).to.have.length(count), {
        timeout: 60_000,
      });
    const publish = async (count: number) => {
      const ids = Array.from({ length: count }, (_, n) => String(n).padStart(3, '0'));
      await Promise.all(
        ids.map((id) =>
          broker.publish(...message(thingSaved, { thingId: id, name: 'x' }, { subject: id }).published),
        ),
      );
      return ids;
    };
    const things = async () =>
      (await database.admin<{ id: string }>('select id from things order by id')).map(({ id }) => id);

    for (const step of ['in a handler', 'before the ack'])
      it(`give each event one effect when one dies ${step}`, async () => {
        await (await start()).kill();
        const ids = await publish(20);
        const env = { DIES: step, DIED: join(directory, step.replaceAll(' ', '-')) };
        expect(await (await start(env)).ended).to.equal(null);
        const saved = await things();
        expect(saved.length > 0).to.equal(step === 'before the ack');
        await start();
        await eventually(async () => expect(await things()).to.deep.equal(ids), { timeout: 30_000 });
        await eventually(async () => expect(await broker.queueDepth(QUEUE)).to.equal(0), { timeout: 30_000 });
      });

    it('finish the handlers that have begun when they are stopped, and leave the rest to others', async () => {
      const slow = await start({ SLOW_MS: '400' });
      const ids = await publish(30);
      await eventually(async () =>
        expect(
          (
            await database.admin(
              'select 1 from pg_stat_activity where wait_event = $1 and datname = current_database()',
              ['ClientRead'],
            )
          ).length,
        ).to.be.greaterThan(0),
      );
      expect(await slow.kill('SIGTERM')).to.equal(0);
      expect(slow.output).to.include('drained');
      const handled = slow.output.filter((line) => line === 'handled').length;
      expect(await things()).to.have.length(handled);
      await start();
      await eventually(async () => expect(await things()).to.deep.equal(ids), { timeout: 60_000 });
    });

    it('share a queue', async () => {
      const [one, two] = [await start({ SLOW_MS: '5' }), await start({ SLOW_MS: '5' })];
      const ids = await publish(300);
      await eventually(async () => expect(await things()).to.deep.equal(ids), { timeout: 60_000 });
      for (const each of [one, two])
        expect(each.output.filter((line) => line === 'handled').length).to.be.greaterThan(0);
      const all = [...one.output, ...two.output].filter((line) => line === 'handled');
      expect(all).to.have.length(300);
    });
  });
