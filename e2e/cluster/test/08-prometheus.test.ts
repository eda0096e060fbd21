import { fileURLToPath } from 'node:url';
import { eventually } from '@warren/testkit';
import { expect } from 'chai';
import { withCharts } from './support/charts.ts';
import { type Forward, forward, helm, kubectl, podsOf, rolledOut, SERVICES } from './support/kube.ts';
import { withWarren } from './support/warren.ts';

const WITH_ALERTS = [...SERVICES, 'rabbitmq'] as const;

describe('Prometheus', () => {
  withWarren();
  const charts = withCharts(...WITH_ALERTS);
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

  /** @throws {Error} in Prometheus's words, when it does not understand the expression */
  const query = async (expression: string) => {
    const response = await fetch(
      `http://${way?.host}:${way?.port}/api/v1/query?query=${encodeURIComponent(expression)}`,
    );
    const { data, error } = (await response.json()) as {
      data?: { result: { metric: Record<string, string>; value: [number, string] }[] };
      error?: string;
    };
    if (data === undefined) throw new Error(`${expression}: ${error}`);
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

  describe('after somebody has signed up', () => {
    before('and asked for all there is about them', async () => {
      const gateway = await forward('svc/gateway', 80);
      const base = `http://${gateway.host}:${gateway.port}`;
      const signUp = await fetch(`${base}/users`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ name: 'Ada', email: `graph-${crypto.randomUUID()}@example.com` }),
      });
      const { id } = (await signUp.json()) as { id: string };
      await (await fetch(`${base}/overview/${id}`)).text();
      gateway.close();
    });

    it('has something to show in every panel of the dashboard', async () => {
      const dashboard = await readDashboard();
      const expressions = dashboard.panels.flatMap(({ title, targets }) =>
        targets.map(({ expr }) => ({ title, expr: expr.replaceAll('$service', '.*') })),
      );
      expect(expressions).not.to.have.length(0);
      await eventually(
        async () => {
          for (const { title, expr } of expressions)
            expect(await query(expr), `${title}: ${expr}`).not.to.have.length(0);
        },
        { timeout: 60_000, interval: 2_000 },
      );
    });

    for (const chart of WITH_ALERTS) {
      it(`knows what the alerts of ${chart} ask for`, async () => {
        const rules = await alertsOf(charts.path(chart));
        expect(rules).not.to.have.length(0);
        await eventually(
          async () => {
            for (const { alert, expr } of rules) {
              await query(expr);
              // The metric of the alert, of any service, also without an occasion for it.
              for (const [, metric, matchers = ''] of expr.matchAll(/([a-z_]+)\{([^}]*)\}/g)) {
                const lasting = matchers
                  .split(',')
                  .filter((each) => !/^ *(service|status|outcome|queue)\W/.test(each));
                const series = `${metric}{${lasting}}`;
                expect(await query(`count(${series})`), `${alert}: ${series}`).to.have.length(1);
              }
            }
          },
          { timeout: 60_000, interval: 2_000 },
        );
      });
    }
  });
});

interface Dashboard {
  panels: { title: string; targets: { expr: string }[] }[];
}

async function readDashboard(): Promise<Dashboard> {
  const path = fileURLToPath(new URL('../../../k8s/monitoring/grafana.yaml', import.meta.url));
  const output = 'jsonpath={.data.warren\\.json}';
  return JSON.parse(await kubectl(['create', '--dry-run=client', '-f', path, '-o', output]));
}

/** The rules of a chart's PrometheusRule, which kubectl turns into JSON without asking the cluster for its kind. */
async function alertsOf(chart: string): Promise<{ alert: string; expr: string }[]> {
  const rendered = await helm([
    ...['template', 'it', chart, '--kube-version', '1.34.0', '--set', 'metrics.rules.enabled=true'],
  ]);
  const output = 'jsonpath={.spec.groups[*].rules}';
  return JSON.parse(await kubectl(['label', '--local', '-f', '-', 'a=b', '-o', output], { input: rendered }));
}
