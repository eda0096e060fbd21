import { eventually } from '@warren/testkit';
import { expect } from 'chai';
import { get, kubectl, podsOf, queueDepths, rolledOut, SERVICES, sql } from './support/kube.ts';
import { withWarren } from './support/warren.ts';

/** Pods that are killed at random. */
const KILLS = 20;

describe('pods that are killed, without a moment to end', function () {
  this.timeout(1_800_000);
  const warren = withWarren();
  const kill = (pod: string) => kubectl(['delete', 'pod', pod, '--grace-period=0', '--force']);

  it(`${KILLS} of services, at random, under load: nothing is lost or doubled`, async () => {
    const killed: string[] = [];
    await warren.underLoad({ patience: 180_000 }, async () => {
      for (let n = 0; n < KILLS; n += 1) {
        // As soon as there is another one: what starts is killed as well as what runs.
        const victim = SERVICES[Math.floor(Math.random() * SERVICES.length)] as string;
        const pods = await eventually(
          async () => {
            const all = await podsOf(victim);
            return all.length > 0 && all;
          },
          { timeout: 120_000, interval: 500 },
        );
        await kill(pods[Math.floor(Math.random() * pods.length)]?.name as string);
        killed.push(victim);
      }
      console.log(`        killed: ${killed.join(', ')}`);
    });
  });

  it('the broker, under load: no request fails, nothing is lost or doubled', async () => {
    await warren.underLoad({ share: 0.5 }, async () => {
      const [before] = await podsOf('rabbitmq');
      await kill('rabbitmq-0');
      await eventually(
        async () => {
          const [pod] = await podsOf('rabbitmq');
          expect(pod?.uid).not.to.equal(before?.uid);
          expect(pod?.ready).to.equal(true);
        },
        { timeout: 300_000, interval: 500 },
      );
    });
  });

  it('one of three nodes of the broker, under load: publishing and consuming go on without it', async function () {
    const { replicas } = (await get('statefulset', 'rabbitmq')).spec;
    if (replicas < 3) {
      console.log(
        `      RabbitMQ has ${replicas} node here; three: make deploy ARGS="-p prod-like -m rabbitmq"`,
      );
      this.skip();
    }
    const sessions = async () => Number(await sql('session', 'select count(*) from sessions'));
    const victim = await leaderOf('session.user.created');
    const isBack = async () => (await podsOf('rabbitmq')).some(({ name, ready }) => name === victim && ready);
    await warren.underLoad({ share: 0.5 }, async () => {
      await kill(victim);
      const before = await sessions();
      await eventually(async () => expect(await sessions(), 'sessions opened').to.be.at.least(before + 50), {
        timeout: 120_000,
        interval: 500,
      });
      expect(await isBack(), 'the node is back before anything was consumed').to.equal(false);
      await eventually(isBack, { timeout: 300_000, interval: 500 });
    });
  });

  it('the broker, while messages wait in it: they are there again', async () => {
    await kubectl(['scale', 'deployment/session', '--replicas=0']);
    try {
      await warren.underLoad({ share: 0.5, accounts: false }, async () => {
        await eventually(
          async () => expect((await queueDepths()).get('session.user.created')).to.be.at.least(100),
          { timeout: 120_000, interval: 1_000 },
        );
      });
      const waiting = await steadyDepth('session.user.created');
      await kill('rabbitmq-0');
      await eventually(async () => expect((await podsOf('rabbitmq'))[0]?.ready).to.equal(true), {
        timeout: 300_000,
        interval: 500,
      });
      await eventually(
        async () => expect((await queueDepths()).get('session.user.created')).to.equal(waiting),
        { timeout: 120_000, interval: 1_000 },
      );
      console.log(`        ${waiting} messages waited`);
    } finally {
      await kubectl(['scale', 'deployment/session', '--replicas=1']);
    }
    await rolledOut('deployment/session');
    await eventually(async () => expect((await queueDepths()).get('session.user.created')).to.equal(0), {
      timeout: 120_000,
      interval: 1_000,
    });
  });
});

/** The pod of the node that leads the queue: the others have to elect one of themselves. */
async function leaderOf(queue: string): Promise<string> {
  const said = await kubectl([
    ...['exec', 'rabbitmq-0', '-c', 'rabbitmq', '--'],
    ...['rabbitmqctl', '--quiet', '--formatter', 'json', 'list_queues', 'name', 'leader'],
  ]);
  const queues: { name: string; leader: string }[] = JSON.parse(said);
  const node = queues.find(({ name }) => name === queue)?.leader ?? '';
  const [, pod] = /^rabbit@(rabbitmq-\d+)\./.exec(node) ?? [];
  if (pod === undefined) throw new Error(`nobody leads ${queue}: ${said}`);
  return pod;
}

/** Of a queue into which nothing more comes. */
async function steadyDepth(queue: string): Promise<number> {
  let last = -1;
  return eventually(
    async () => {
      const depth = (await queueDepths()).get(queue) ?? 0;
      const steady = depth === last;
      last = depth;
      return steady && depth;
    },
    { timeout: 60_000, interval: 2_000 },
  );
}
