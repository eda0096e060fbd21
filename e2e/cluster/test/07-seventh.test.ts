import { eventually } from '@warren/testkit';
import { expect } from 'chai';
import { withCharts } from './support/charts.ts';
import { forward, get, helm, kubectl, podsOf, queueDepths, secret, sql } from './support/kube.ts';
import { run } from './support/run.ts';
import { withWarren } from './support/warren.ts';

const NAME = 'visit';
const IMAGE = `warren/${NAME}:planted`;

describe('a seventh service', function () {
  this.timeout(900_000);
  const warren = withWarren();
  const charts = withCharts('session');
  const upgraded: string[] = [];
  const upgrade = async (release: string, ...more: string[]) => {
    await helm(['upgrade', release, charts.path(release), '--reset-then-reuse-values', '--wait', ...more]);
    upgraded.push(release);
  };

  before('its image: a copy of session, which is called something else', async function () {
    const context = (await run('kubectl', ['config', 'current-context'])).trim();
    if (!context.startsWith('kind-')) {
      console.log(`    The image of a seventh service can be given to a kind cluster, not to ${context}.`);
      this.skip();
    }
    const { spec } = await get('deployment', 'session');
    // Its own name in its queues, publications and methods: between quotes.
    const rename = String.raw`s/(['"\`])session(['"\`.])/\1${NAME}\2/g`;
    const dockerfile = [
      `FROM ${spec.template.spec.containers[0].image}`,
      'USER 0',
      `RUN find src ../../packages/contracts/src -name '*.js' -exec sed -E -i "${rename.replaceAll(/["`$\\]/g, '\\$&')}" {} +`,
      'USER 1000:0',
    ];
    await run('docker', ['build', '-t', IMAGE, '-'], { input: `${dockerfile.join('\n')}\n` });
    await run('kind', ['load', 'docker-image', '--name', context.replace('kind-', ''), IMAGE]);
  });

  after('it goes', async () => {
    await helm(['uninstall', NAME, '--ignore-not-found', '--wait']);
    for (const release of upgraded) await helm(['rollback', release, '--wait']);
    await sql('user', `drop database if exists warren_${NAME} with (force);`);
    await sql('user', `drop role if exists ${NAME};`);
    await kubectl(['delete', 'secret', `${NAME}-amqp`, `${NAME}-database`, '--ignore-not-found']);

    const way = await forward('svc/rabbitmq', 15672);
    const [username, password] = [
      await secret('rabbitmq-admin', 'username'),
      await secret('rabbitmq-admin', 'password'),
    ];
    const queues = [...(await queueDepths()).keys()].filter((queue) => queue.startsWith(`${NAME}.`));
    for (const path of [
      ...queues.map((queue) => `queues/%2F/${queue}`),
      ...['retry', 'return'].map((exchange) => `exchanges/%2F/${NAME}.${exchange}`),
      `users/${NAME}`,
    ])
      await fetch(`http://${way.host}:${way.port}/api/${path}`, {
        method: 'DELETE',
        headers: { authorization: `Basic ${btoa(`${username}:${password}`)}` },
      });
    way.close();
  });

  it('joins by an upgrade of broker and database and an install; nothing else begins anew', async () => {
    const before = (await podsOf()).map(({ uid, restarts }) => `${uid} ${restarts}`);
    await warren.underLoad({ share: 0.2 }, async () => {
      const granted = ['consumes={user.created.v1}', 'answers={gateway}'];
      await upgrade(
        'rabbitmq',
        ...['enabled=true', ...granted].flatMap((value) => ['--set', `services.${NAME}.${value}`]),
      );
      await upgrade('postgresql', '--set', `services.${NAME}.enabled=true`);
      await helm([
        ...['install', NAME, charts.path('session'), '--wait', '--timeout', '3m', '--set', `name=${NAME}`],
        ...['--set', 'image.repository=warren/visit,image.tag=planted,image.pullPolicy=IfNotPresent'],
        ...['--set', 'test.paths={/sessions?userId=00000000-0000-4000-8000-000000000000}'],
      ]);
      // It consumes sign-ups from now on.
      await eventually(async () => expect(await visits()).to.be.at.least(20), {
        timeout: 60_000,
        interval: 1_000,
      });
    });
    expect(
      (await podsOf()).map(({ uid, restarts }) => `${uid} ${restarts}`),
      'pods that were there before',
    ).to.include.members(before);
    expect(await helm(['test', NAME])).to.match(/Phase: +Succeeded/);
    expect([...(await queueDepths()).keys()]).to.include.members([`${NAME}.user.created`, `${NAME}.rpc`]);
  });

  const visits = async () => Number(await sql(NAME, 'select count(*) from sessions'));
});
