import { readdirSync } from 'node:fs';
import { eventually } from '@warren/testkit';
import { expect } from 'chai';
import { STATEFUL } from './support/accounts.ts';
import { withCharts } from './support/charts.ts';
import { get, Kube, SERVICES } from './support/kube.ts';
import { withPrevious } from './support/previous.ts';
import { withWarren } from './support/warren.ts';

/** The version before batches, the fifth migration of the chassis and the recomputed keys of e-mail addresses. */
const { PREVIOUS = '1f4e846' } = process.env;

/** Its databases and broker belong to it, so that there is something to migrate. */
const upgraded = new Kube('warren-upgrade');

/** Sign-ups while old and new run side by side. */
const SIDE_BY_SIDE = 200;

describe(`a deploy over the previous version, ${PREVIOUS}`, function () {
  this.timeout(1_800_000);
  const { kubectl, helm, podsOf, rolledOut, sql, queueDepths, forward } = upgraded;
  const warren = withWarren(8);
  const charts = withCharts(...SERVICES);
  const previous = withPrevious(PREVIOUS);

  const remove = () => kubectl(['delete', 'namespace', upgraded.namespace, '--ignore-not-found']);

  before('the previous version is deployed, in a namespace of its own', async () => {
    await remove(); // what an interrupted run has left
    const install = (release: string, ...more: string[]) =>
      helm(
        [
          ...['upgrade', '--install', release, previous.chart(release), '--create-namespace'],
          ...['--wait', '--timeout', '10m', ...more],
        ],
        { timeout: 660_000 },
      );
    await Promise.all(['rabbitmq', 'postgresql'].map((release) => install(release)));
    await Promise.all(SERVICES.map((service) => install(service, ...imageValues(previous.image(service)))));
  });

  after('it goes', remove);

  it('under load, with old and new side by side: no request fails, nothing is lost, doubled or forged', async () => {
    await warren.underLoad({ kube: upgraded, share: 0.16, orders: true }, async () => {
      // The broker's definitions come before the services: docs/how-to/check-producers.md
      for (const release of ['rabbitmq', 'postgresql']) await upgrade(release);
      for (const service of SERVICES) await upgradeFirstPod(service);
      await signedUp(SIDE_BY_SIDE);
      for (const service of SERVICES) await expectBothAtWork(service);
      for (const service of SERVICES) await upgradeRest(service);

      await helm(['rollback', 'order', '--wait', '--timeout', '5m']);
      await signedUp(50);
      await upgrade('order', ...(await imageOf('order')));
    });

    expect((await queueDepths()).get('unrouted'), 'events that nobody consumed').to.equal(0);
    for (const service of SERVICES) expect(await forged(service), `forged to ${service}`).to.equal(0);
    for (const service of STATEFUL) expect(await missingMigrations(service), service).to.deep.equal([]);
    const restarted = (await podsOf()).filter(({ restarts }) => restarts > 0);
    expect(
      restarted.map(({ name }) => name),
      'pods whose process ended',
    ).to.deep.equal([]);
  });

  const upgrade = (release: string, ...more: string[]) =>
    helm([
      ...['upgrade', release, charts.path(release), '--reset-then-reuse-values', '--wait', '--timeout', '5m'],
      ...more,
    ]);

  /** The image that `make deploy` built of this checkout. */
  async function imageOf(service: string): Promise<string[]> {
    const { spec } = await get('deployment', service);
    return imageValues(spec.template.spec.containers[0].image);
  }

  function imageValues(image: string): string[] {
    const [, repository, tag] = /^(.+):([^:@]+)$/.exec(image) ?? [];
    return ['--set', `image.repository=${repository}`, '--set-string', `image.tag=${tag}`];
  }

  /** Until the first pod of the new version is ready. It stays not "available", so the pod of the old version stays, too. */
  async function upgradeFirstPod(service: string): Promise<void> {
    await patch(service, { minReadySeconds: 3_599, progressDeadlineSeconds: 3_600 });
    await upgrade(service, ...(await imageOf(service)));
  }

  async function upgradeRest(service: string): Promise<void> {
    await patch(service, { minReadySeconds: 0, progressDeadlineSeconds: 600 });
    await rolledOut(`deployment/${service}`);
  }

  const patch = (service: string, spec: object) =>
    kubectl(['patch', 'deployment', service, '--patch', JSON.stringify({ spec })]);

  /** Waits until so many more people have signed up. */
  async function signedUp(people: number): Promise<void> {
    const users = async () => Number(await sql('user', 'select count(*) from users'));
    const before = await users();
    await eventually(async () => expect(await users(), 'users').to.be.at.least(before + people), {
      timeout: 600_000,
      interval: 1_000,
    });
  }

  /** A pod of each version, and both have handled requests or events. */
  async function expectBothAtWork(service: string): Promise<void> {
    const pods = (await podsOf(service)).filter(({ ready }) => ready);
    const old = pods.filter(({ image }) => image === previous.image(service));
    expect([pods.length, old.length], `pods of ${service}, and old ones`).to.deep.equal([2, 1]);
    for (const { name, image } of pods) {
      const metrics = await metricsOf(name);
      const requests = sum(metrics, /^http_request_duration_seconds_count/);
      const events = sum(metrics, /^events_consumed_total\{.*outcome="handled"/);
      const methods = sum(metrics, /^rpc_handling_duration_seconds_count/);
      const version = image === previous.image(service) ? 'old' : 'new';
      console.log(
        `        ${version} ${service}: ${requests} requests, ${methods} over the broker, ${events} events handled`,
      );
      expect(requests + methods + events, `what ${name} has done`).to.be.above(0);
      expect(sum(metrics, /^messages_forged_total/), `forged to ${name}`).to.equal(0);
    }
  }

  async function forged(service: string): Promise<number> {
    const [pod] = await podsOf(service);
    return sum(await metricsOf(pod?.name as string), /^messages_forged_total/);
  }

  /** Through a port-forward: a process started in the pod would take the service's share of the processor. */
  async function metricsOf(pod: string): Promise<string> {
    const { host, port, close } = await forward(`pod/${pod}`, 9000);
    try {
      return await (await fetch(`http://${host}:${port}/metrics`)).text();
    } finally {
      close();
    }
  }

  const sum = (metrics: string, pattern: RegExp) =>
    metrics
      .split('\n')
      .filter((line) => pattern.test(line))
      .reduce((total, line) => total + Number(line.split(' ').at(-1)), 0);

  /** Migrations of this checkout that the database of a service lacks. */
  async function missingMigrations(service: string): Promise<string[]> {
    const applied = (await sql(service, "select set || '/' || name from warren.migrations")).split('\n');
    const root = new URL('../../../', import.meta.url);
    const files = (set: string, directory: string) =>
      readdirSync(new URL(`${directory}/migrations`, root)).map((file) => `${set}/${file}`);
    const all = [...files('chassis', 'packages/chassis'), ...files(service, `services/${service}`)];
    return all.filter((migration) => !applied.includes(migration));
  }
});
