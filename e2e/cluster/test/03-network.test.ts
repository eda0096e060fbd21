import { setTimeout } from 'node:timers/promises';
import { expect } from 'chai';
import { withCharts } from './support/charts.ts';
import { get, helm, kubectl, SERVICES } from './support/kube.ts';
import { withWarren } from './support/warren.ts';

const every = (port: number) => SERVICES.map((service) => `${service}:${port}`);

/** A namespace where nothing is denied. */
const ELSEWHERE = 'warren-elsewhere';

/** Releases whose values let Prometheus in from there; no pod begins anew for it. */
const OPENED = ['user', 'rabbitmq'] as const;

/** Whatever listens, by its Service. */
const DOORS = [
  ...every(80),
  ...every(9000),
  ...['rabbitmq:5672', 'rabbitmq:15672', 'rabbitmq:15692', 'rabbitmq-nodes:4369', 'rabbitmq-nodes:25672'],
  'postgresql:5432',
];

/** Who may pass which; nobody any other. */
const MAY: Record<string, readonly string[]> = {
  'deployment/gateway': [...every(80), 'rabbitmq:5672'].filter((door) => door !== 'gateway:80'),
  'deployment/user': ['rabbitmq:5672', 'postgresql:5432'],
  'deployment/session': ['rabbitmq:5672', 'postgresql:5432'],
  'deployment/order': ['rabbitmq:5672', 'postgresql:5432'],
  'deployment/payment': ['rabbitmq:5672', 'postgresql:5432'],
  'deployment/email': ['rabbitmq:5672', 'postgresql:5432'],
  'statefulset/rabbitmq': ['localhost:5672'],
  'statefulset/postgresql': ['localhost:5432'],
  'pod/rabbitmq-reconcile': ['rabbitmq:15672'],
  'pod/postgresql-reconcile': ['postgresql:5432'],
  'pod/test': [...every(80), ...every(9000), 'rabbitmq:5672', 'rabbitmq:15672', 'postgresql:5432'],
  'pod/nobody': [],
  [`pod/prometheus --namespace=${ELSEWHERE}`]: ['gateway:80', 'user:9000', 'rabbitmq:15692'],
  [`pod/nobody --namespace=${ELSEWHERE}`]: ['gateway:80'],
};

/** Of those written `host/port`, the ones that take a connection, one a line. */
const CONNECT = 'for door; do (timeout 3 bash -c "</dev/tcp/$door" && echo "$door") 2>/dev/null & done; wait';

async function openFor(who: string, doors: readonly string[]): Promise<string[]> {
  const paths = doors.map((door) => door.replace(':', '/'));
  const output = await kubectl(['exec', ...who.split(' '), '--', 'bash', '-c', CONNECT, 'bash', ...paths]);
  return output
    .split('\n')
    .filter(Boolean)
    .map((path) => path.replace('/', ':'));
}

/** Pods that go by the labels of others, which are here for a moment only, or in another namespace. */
const standIn = (name: string, image: string, pullPolicy: string) => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: {
    name,
    labels: { 'app.kubernetes.io/name': name, 'app.kubernetes.io/component': name },
  },
  spec: {
    automountServiceAccountToken: false,
    terminationGracePeriodSeconds: 0,
    securityContext: { runAsNonRoot: true, runAsUser: 1000, seccompProfile: { type: 'RuntimeDefault' } },
    containers: [
      {
        name,
        image,
        imagePullPolicy: pullPolicy,
        command: ['sleep', '1800'],
        securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
      },
    ],
  },
});

/** Its own policy allows it nothing: it shows whether policies are enforced at all. */
const CLOSED = 'pod/closed';
const closing = {
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { name: 'closed' },
  spec: {
    podSelector: { matchLabels: { 'app.kubernetes.io/name': 'closed' } },
    policyTypes: ['Ingress', 'Egress'],
  },
};

describe('NetworkPolicies', () => {
  withWarren();
  const charts = withCharts(...OPENED);
  const addresses = new Map<string, string>();
  const standIns = [...Object.keys(MAY).filter((who) => who.startsWith('pod/')), CLOSED];
  const opened: string[] = [];
  let enforced = false;

  const remove = async () => {
    const here = standIns.filter((who) => !who.includes(ELSEWHERE));
    await kubectl(['delete', '--ignore-not-found', ...here, 'networkpolicy/closed']);
    await kubectl(['delete', '--ignore-not-found', 'namespace', ELSEWHERE]);
  };
  after(async () => {
    await remove();
    for (const release of opened) await helm(['rollback', release, '--wait']);
  });

  before('whether this cluster enforces them', async () => {
    // What is denied is tried by address: a pod that may not ask for names would reach nothing by them anyway.
    for (const { metadata, spec } of (await get('services')).items)
      addresses.set(metadata.name, spec.clusterIP);
    addresses.set('rabbitmq-nodes', (await get('pod', 'rabbitmq-0')).status.podIP);

    await remove();
    await kubectl(['create', 'namespace', ELSEWHERE]);
    await kubectl(['create', '-f', '-'], { input: JSON.stringify(closing) });
    const { image, imagePullPolicy } = (await get('deployment', 'gateway')).spec.template.spec.containers[0];
    for (const who of standIns) {
      const [pod = '', ...namespace] = who.split(' ');
      const manifest = standIn(pod.replace('pod/', ''), image, imagePullPolicy);
      await kubectl(['create', ...namespace, '-f', '-'], { input: JSON.stringify(manifest) });
    }
    for (const release of OPENED) {
      await helm([
        ...['upgrade', release, charts.path(release), '--reset-then-reuse-values', '--wait'],
        ...['--set', `networkPolicy.prometheus.namespaces={${ELSEWHERE}}`],
      ]);
      opened.push(release);
    }
    for (const who of standIns)
      await kubectl(['wait', ...who.split(' '), '--for=condition=Ready', '--timeout=120s']);

    // Of a pod that is new they may be enforced a moment later.
    const reached = () => openFor(CLOSED, [`${addresses.get('gateway')}:80`]);
    for (let looks = 0; looks < 10 && !enforced; looks += 1) {
      if (looks > 0) await setTimeout(1_000);
      enforced = (await reached()).length === 0;
    }
    if (!enforced)
      console.log(
        '    This cluster does not enforce NetworkPolicies: a pod that one denies everything reached the gateway. What they deny is not tested.',
      );
  });

  for (const [who, doors] of Object.entries(MAY)) {
    if (doors.length > 0)
      it(`let ${who} reach ${doors.join(', ')}`, async () => {
        const names = who.includes('--namespace')
          ? doors.map((door) => door.replace(':', '.warren:'))
          : doors;
        expect(await openFor(who, names)).to.have.members(names);
      });

    it(`deny ${who} ${doors.length > 0 ? 'all else' : 'everything'}`, async function () {
      if (!enforced) this.skip();
      const own = who.replace(/^\w+\/| .*/g, '');
      const closed = DOORS.filter((door) => !doors.includes(door) && !door.startsWith(own));
      const byAddress = new Map(
        closed.map((door) => [door.replace(/^[^:]+/, (name) => addresses.get(name) ?? name), door]),
      );
      const open = await openFor(who, [...byAddress.keys()]);
      expect(open.map((address) => byAddress.get(address))).to.deep.equal([]);
    });
  }
});
