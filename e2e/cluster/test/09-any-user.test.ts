import { expect } from 'chai';
import { withCharts } from './support/charts.ts';
import { get, helm, podsOf } from './support/kube.ts';
import { run } from './support/run.ts';
import { withWarren } from './support/warren.ts';

/** A namespace of its own for a broker and a database that others do not need. */
const ELSEWHERE = 'warren-any-user';

/** As OpenShift does it: a uid and a group for volumes from the namespace's range, and group 0. */
const ANY_USER = [
  ...['--set', 'podSecurityContext.runAsUser=1000680000'],
  ...['--set', 'podSecurityContext.runAsGroup=0'],
  ...['--set', 'podSecurityContext.fsGroup=1000680000'],
];

describe('under a uid that no image knows, with group 0', function () {
  this.timeout(1_200_000);
  withWarren();
  const charts = withCharts('user', 'gateway');
  const upgraded: string[] = [];

  after('everything is as it was', async () => {
    for (const release of upgraded) await helm(['rollback', release, '--wait', '--timeout', '5m']);
    await run('kubectl', ['delete', '--ignore-not-found', 'namespace', ELSEWHERE]);
  });

  for (const service of ['user', 'gateway'] as const)
    it(`the ${service} service starts, reads its Secrets and answers`, async () => {
      upgraded.push(service);
      await helm(
        [
          ...['upgrade', service, charts.path(service), '--reset-then-reuse-values', ...ANY_USER],
          ...['--wait', '--timeout', '5m'],
        ],
        { timeout: 330_000 },
      );
      const { spec } = await get('deployment', service);
      expect(spec.template.spec.securityContext).to.deep.include({ runAsUser: 1_000_680_000, runAsGroup: 0 });
      expect((await podsOf(service)).every(({ ready }) => ready)).to.equal(true);
      expect(await helm(['test', service])).to.match(/Phase: +Succeeded/);
    });

  for (const chart of ['rabbitmq', 'postgresql'] as const)
    it(`${chart} starts with an empty volume, is reconciled and passes its test`, async () => {
      const there = (...args: string[]) =>
        run('helm', ['--namespace', ELSEWHERE, ...args], { timeout: 660_000 });
      await there(
        ...['install', chart, charts.path(chart), '--create-namespace', ...ANY_USER],
        ...['--set', 'resources.requests.cpu=10m', '--set', 'resources.requests.memory=64Mi'],
        ...['--set', 'networkPolicy.enabled=false', '--wait', '--timeout', '10m'],
      );
      expect(await there('test', chart)).to.match(/Phase: +Succeeded/);
      await there('uninstall', chart, '--wait');
    });
});
