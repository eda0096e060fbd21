import { eventually } from '@warren/testkit';
import { expect } from 'chai';
import { type Forward, forward, kubectl, podsOf, rolledOut, SERVICES } from './support/kube.ts';
import { withWarren } from './support/warren.ts';

describe('Prometheus', () => {
  withWarren();
  let way: Forward | undefined;

  before('is there', async function () {
    if ((await kubectl(['get', 'deployment', 'prometheus', '--ignore-not-found', '-o', 'name'])) === '') {
      console.log('    There is no Prometheus here: kubectl apply -f k8s/monitoring/prometheus.yaml');
      this.skip();
    }
    await rolledOut('deployment/prometheus');
    way = await forward('svc/prometheus', 9090);
  });
  after(() => way?.close());

  const query = async (expression: string) => {
    const response = await fetch(
      `http://${way?.host}:${way?.port}/api/v1/query?query=${encodeURIComponent(expression)}`,
    );
    const { data } = (await response.json()) as {
      data: { result: { metric: Record<string, string>; value: [number, string] }[] };
    };
    return data.result;
  };

  it('finds every pod of every service up', async () => {
    await eventually(
      async () => {
        const up = await query('up == 1');
        for (const service of [...SERVICES, 'rabbitmq'])
          for (const { name } of await podsOf(service))
            expect(
              up.filter(({ metric }) => Object.values(metric).includes(name)),
              `up of ${name}`,
            ).to.have.length(1);
        expect(await query('up == 0')).to.deep.equal([]);
      },
      { timeout: 120_000, interval: 2_000 },
    );
  });

  it('answers a query on events_consumed_total', async () => {
    await eventually(
      async () => {
        const counts = await query('sum by (queue) (events_consumed_total{outcome="handled"})');
        expect(counts.map(({ metric }) => metric.queue)).to.include.members([
          'session.user.created',
          'payment.order.created',
        ]);
      },
      { timeout: 60_000, interval: 2_000 },
    );
  });
});
