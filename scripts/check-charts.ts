// The charts, as Helm sees them: linted, rendered with several sets of values, and validated by kubeconform; values that
// are wrong refused by their names; and what people write in values. Works on a copy: `helm dependency build` writes into a chart.
import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { checkChartValues } from './check-chart-values.ts';
import { NotRun } from './not-run.ts';
import { files, root } from './tree.ts';

/** Of the Kubernetes that what is rendered is for. */
const KUBERNETES = '1.34.0';
/** Where else kubeconform finds schemas, as its `-schema-location`; default: its own, on the internet. */
const { KUBE_SCHEMAS = 'default' } = process.env;

const HELM = 'https://helm.sh/docs/intro/install';
const KUBECONFORM = 'https://github.com/yannh/kubeconform#installation';

interface Rendering {
  chart: string;
  title: string;
  /** Files from the root of the checkout. */
  valuesFiles?: string[];
  values?: object;
  /** All Secrets are the operator's: it renders none, and the same a second time. */
  secretless?: boolean;
}

const services = files('charts/*/templates/service.yaml').map((file) => file.split('/')[1] as string);

const everything = {
  image: { repository: 'registry.example.com/warren/it', tag: 'sha-1', pullPolicy: 'Always' },
  imagePullSecrets: ['registry'],
  config: { SOME_NUMBER: 3, SOME_TEXT: 'text' },
  secrets: [{ variable: 'SMTP_URL', secret: 'smtp', key: 'url' }],
  amqp: { existingSecret: 'broker' },
  database: { existingSecret: 'cluster-app', key: 'uri' },
  trust: { existingSecret: 'authorities' },
  otlp: { endpoint: 'http://collector.monitoring:4318' },
  auth: {
    enabled: true,
    issuer: 'https://id.example.com/realms/warren',
    audience: 'warren',
    jwksUrl: 'https://id.example.com/realms/warren/protocol/openid-connect/certs',
    to: [{ ipBlock: { cidr: '10.1.2.3/32' } }],
    rolesClaim: 'realm_access.roles',
  },
  debug: true,
  autoscaling: { enabled: true },
  podDisruptionBudget: { maxUnavailable: '25%' },
  service: { type: 'LoadBalancer', annotations: { 'example.com/balancer': 'internal' } },
  ingress: {
    enabled: true,
    className: 'nginx',
    annotations: { 'cert-manager.io/cluster-issuer': 'letsencrypt' },
    hosts: [
      { host: 'shop.example.com' },
      { host: '*.example.com', paths: [{ path: '/users' }, { path: '/health', pathType: 'Exact' }] },
    ],
    tls: [{ secretName: 'shop-tls', hosts: ['shop.example.com'] }],
  },
  networkPolicy: {
    callers: ['gateway', 'console'],
    calls: ['user'],
    ports: [587],
    egress: [{ to: [{ ipBlock: { cidr: '10.1.0.0/16' } }] }],
    ingress: [{ from: [{ namespaceSelector: {} }] }],
  },
  metrics: {
    serviceMonitor: { enabled: true, labels: { release: 'prometheus' } },
    rules: {
      enabled: true,
      labels: { release: 'prometheus' },
      runbookBase: 'https://git.example.com/warren/blob/main/',
      counters: [
        {
          metric: 'faults_total',
          alert: 'Faults',
          summary: 'a fault',
          runbook: 'https://example.com/faults',
        },
      ],
    },
  },
  serviceAccount: { annotations: { 'example.com/role': 'it' } },
  podAnnotations: { 'example.com/note': 'a note' },
  podLabels: { team: 'warren' },
  priorityClassName: 'high',
  nodeSelector: { 'kubernetes.io/arch': 'arm64' },
  tolerations: [{ key: 'spot', operator: 'Exists' }],
  affinity: { podAntiAffinity: {} },
};
const nothing = {
  amqp: { enabled: false },
  database: { enabled: false },
  networkPolicy: { enabled: false },
  podDisruptionBudget: { enabled: false },
  metrics: { annotations: false },
};
/** For GitOps, which renders without a cluster to keep passwords in. */
const ownSecrets = {
  auth: { existingSecret: 'operator' },
  services: Object.fromEntries(services.map((name) => [name, { existingSecret: `${name}-secret` }])),
};
const monitored = { metrics: { serviceMonitor: { enabled: true }, rules: { enabled: true } } };

const renderings: Rendering[] = [
  ...services.flatMap((chart) => [
    { chart, title: 'defaults' },
    { chart, title: 'everything', values: everything, secretless: true },
    { chart, title: 'nothing', values: nothing },
    { chart, title: 'another-name', values: { name: 'another-name' } },
    { chart, title: 'prod-like', valuesFiles: ['k8s/prod-like/service.yaml'] },
  ]),
  { chart: 'rabbitmq', title: 'defaults' },
  ...files('{charts/rabbitmq/values-*.yaml,k8s/*/rabbitmq.yaml}').map((file) => ({
    chart: 'rabbitmq',
    title: file.replaceAll('/', '-').replace('.yaml', ''),
    valuesFiles: [file],
  })),
  {
    chart: 'rabbitmq',
    title: 'everything',
    values: {
      ...monitored,
      services: {
        ledger: { enabled: true },
        user: { existingSecret: 'user-broker' },
        email: { enabled: false },
      },
      userLimits: { connections: 480, channels: -1 },
      auth: { existingSecret: 'operator' },
      tls: { enabled: true, existingSecret: 'certificate' },
      persistence: { enabled: false },
      config: { extra: 'heartbeat = 30\nchannel_max = 100' },
      affinity: { podAntiAffinity: {} },
    },
  },
  {
    chart: 'rabbitmq',
    title: 'gitops',
    values: { ...ownSecrets, tls: { enabled: true, existingSecret: 'certificate', only: true } },
    secretless: true,
  },
  { chart: 'postgresql', title: 'gitops', values: ownSecrets, secretless: true },
  {
    chart: 'rabbitmq',
    title: 'nothing',
    values: { podDisruptionBudget: { enabled: false }, networkPolicy: { enabled: false } },
  },
  { chart: 'postgresql', title: 'defaults' },
  {
    chart: 'postgresql',
    title: 'everything',
    values: {
      services: { ledger: { enabled: true }, user: { existingSecret: 'user-db' }, email: { enabled: false } },
      auth: { existingSecret: 'superuser' },
      persistence: { enabled: false },
      networkPolicy: { enabled: false },
    },
  },
];

/** Chart, values that it must refuse, and what it must say: the value's name first of all. */
const refusals: [chart: string, values: object, said: string][] = [
  ...[...services, 'rabbitmq', 'postgresql'].flatMap((chart): [string, object, string][] => [
    [chart, { planted: 1 }, "'planted' not allowed"],
    [chart, { image: { tga: '1' } }, "'tga' not allowed"],
    [chart, { image: { tag: 1 } }, "'/image/tag'"],
    [chart, { resources: { limits: { memory: 'much' } } }, "'/resources/limits/memory'"],
    [chart, { image: { digest: 'sha256:12' } }, "'/image/digest'"],
    [chart, { imagePullSecrets: [{ secret: 'x' }] }, "'/imagePullSecrets/0'"],
    [chart, { service: { port: 8080 } }, "'port' not allowed"],
    [chart, { podAnnotations: { 'example.com/a': 2 ** 60 } }, "'/podAnnotations/example.com~1a'"],
    [chart, { extraEnv: [{ name: 'A' }, { name: 'A' }] }, 'extraEnv: A is set'],
  ]),
  ['user', { config: { LIMIT: 2 ** 60 } }, "'/config/LIMIT'"],
  ['user', { extraEnv: [{ name: 'PORT', value: 80 }] }, 'extraEnv: PORT is set by the chart'],
  ['user', { autoscaling: { enabled: true, maxReplicas: null } }, 'autoscaling.maxReplicas'],
  // What --reuse-values leaves out, over a release that did not have it.
  ['rabbitmq', { podSecurityContext: null }, "missing property 'podSecurityContext'"],
  ['postgresql', { securityContext: null }, "missing property 'securityContext'"],
  ['user', { replicas: -1 }, "'/replicas'"],
  ['user', { replicas: '2' }, "'/replicas'"],
  ['user', { config: { log_level: 'x' } }, 'log_level'],
  ['user', { shutdown: { grace: 5, drainDelay: 5 } }, 'shutdown.drainDelay'],
  ['user', { autoscaling: { enabled: true, minReplicas: 7 } }, 'autoscaling.minReplicas'],
  ['user', { ingress: { enabled: true, hosts: [{ host: 'shop.example.com' }] } }, 'networkPolicy.public'],
  ['user', { auth: { enabled: true, issuer: 'https://id.example.com', audience: 'warren' } }, 'auth.jwksUrl'],
  ['user', { auth: { enabled: 'jwt' } }, "'/auth/enabled'"],
  ['user', { service: { type: 'NodePort' } }, 'networkPolicy.public'],
  ['gateway', { ingress: { enabled: true } }, 'ingress.hosts'],
  ['gateway', { ingress: { host: 'shop.example.com' } }, "'host' not allowed"],
  ['gateway', { ingress: { hosts: ['shop.example.com'] } }, "'/ingress/hosts/0'"],
  ['gateway', { ingress: { hosts: [{ host: 'https://shop.example.com' }] } }, "'/ingress/hosts/0/host'"],
  ['gateway', { service: { type: 'ExternalName' } }, "'/service/type'"],
  ['user', { metrics: { rules: { runbookBase: 'git.example.com' } } }, "'/metrics/rules/runbookBase'"],
  ['user', { secrets: [{ variable: 'SMTP_URL' }] }, "'/secrets/0'"],
  ['user', { chassis: { replicas: -1 } }, "'/replicas'"],
  ['rabbitmq', { replicas: -1 }, "'/replicas'"],
  ['rabbitmq', { services: { ledger: { secret: 'a' } } }, "'secret' not allowed"],
  ['rabbitmq', { userLimits: { connections: 'many' } }, "'/userLimits/connections'"],
  ['rabbitmq', { replicas: 2 }, 'replicas: must be odd'],
  ['rabbitmq', { tls: { enabled: true } }, 'tls.existingSecret'],
  ['rabbitmq', { tls: { only: true } }, 'tls.only'],
  ['postgresql', { persistence: { size: 'big' } }, "'/persistence/size'"],
];

/** @throws {NotRun} where a tool is missing and nothing else was found */
export async function checkCharts(): Promise<string[]> {
  if (!(await isThere('helm', 'version'))) throw new NotRun(`helm is missing (${HELM})`);
  const scratch = mkdtempSync(join(tmpdir(), 'warren-charts-'));
  try {
    cpSync(join(root, 'charts'), join(scratch, 'charts'), {
      recursive: true,
      filter: (source) => !/charts\/[^/]+\/(charts|Chart\.lock)$/.test(source),
    });
    mkdirSync(join(scratch, 'rendered'));
    const helm = (...args: string[]) => run('helm', args, scratch);

    const charts = files('charts/*/Chart.yaml').map((file) => file.split('/')[1] as string);
    const findings = await each(charts, async (chart) => {
      const built = await helm('dependency', 'build', `charts/${chart}`);
      if (built.code !== 0) return [`charts/${chart}: ${built.output}`];
      const { code, output } = await helm('lint', '--strict', '--quiet', `charts/${chart}`);
      return code === 0 ? [] : [`charts/${chart}: ${output}`];
    });
    if (findings.length > 0) return findings;

    const template = (
      chart: string,
      title: string,
      values: object = {},
      valuesFiles: string[] = [],
      more: string[] = [],
    ) => {
      const path = join(scratch, `${chart}-${title}.json`);
      writeFileSync(path, JSON.stringify(values));
      const all = [...valuesFiles.map((file) => join(root, file)), path].flatMap((file) => [
        '--values',
        file,
      ]);
      return helm(
        'template',
        chart,
        `charts/${chart}`,
        '--kube-version',
        KUBERNETES,
        '-n',
        'warren',
        ...all,
        ...more,
      );
    };
    findings.push(
      ...(await each(renderings, async ({ chart, title, values, valuesFiles, secretless }) => {
        const render = () => template(chart, title, values, valuesFiles);
        const { code, output } = await render();
        const what = `charts/${chart} with ${title}`;
        if (code !== 0) return [`${what}: ${output}`];
        writeFileSync(join(scratch, 'rendered', `${chart}-${title}.yaml`), output);
        if (!secretless) return [];
        if (/^kind: Secret$/m.test(output)) return [`${what} renders a Secret`];
        return (await render()).output === output ? [] : [`${what} renders differently the second time`];
      })),
      ...(await each([...refusals.entries()], async ([index, [chart, values, said]]) => {
        const { code, output } = await template(chart, `refused-${index}`, values);
        const what = `charts/${chart} with ${JSON.stringify(values)}`;
        if (code === 0) return [`${what} is accepted, but must be refused`];
        return output.includes(said)
          ? []
          : [`${what} is refused, but the message does not contain ${said}: ${output}`];
      })),
    );
    const rendered = async (chart: string, title: string, values: object, more: string[] = []) => {
      const ended = await template(chart, title, values, [], more);
      if (ended.code === 0) writeFileSync(join(scratch, 'rendered', `${chart}-${title}.yaml`), ended.output);
      return ended;
    };
    findings.push(...(await checkChartValues(services, rendered, each, scratch)));
    if (!(await isThere('kubeconform', '-v'))) {
      if (findings.length > 0) return findings;
      throw new NotRun(
        `kubeconform is missing (${KUBECONFORM}): the charts were linted and rendered, but not validated`,
      );
    }
    for (const file of files('k8s/{*,monitoring/*,issuer/*}.yaml').filter(
      (name) => basename(name) !== 'kind.yaml',
    ))
      cpSync(join(root, file), join(scratch, 'rendered', file.replaceAll('/', '-')));
    const locations = [KUBE_SCHEMAS, join(root, 'scripts/schemas/{{.ResourceKind}}{{.KindSuffix}}.json')];
    const { code, output } = await run(
      'kubeconform',
      [
        ...['-strict', '-kubernetes-version', KUBERNETES, '-n', String(availableParallelism())],
        ...locations.flatMap((location) => ['-schema-location', location]),
        'rendered',
      ],
      scratch,
    );
    return code === 0 ? findings : [...findings, output];
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

async function isThere(command: string, argument: string): Promise<boolean> {
  return (await run(command, [argument], root)).code === 0;
}

interface Ended {
  code: number;
  /** Standard output, and standard error where it failed. */
  output: string;
}

function run(command: string, args: string[], cwd: string): Promise<Ended> {
  return new Promise((resolve) => {
    execFile(command, args, { cwd, maxBuffer: 64 * 1024 ** 2 }, (error, stdout, stderr) =>
      resolve({ code: error ? 1 : 0, output: error ? (stderr + stdout).trim() : stdout }),
    );
  });
}

/** Findings of all items, twice as many at once as there are processors. */
async function each<T>(items: readonly T[], find: (item: T) => Promise<string[]>): Promise<string[]> {
  const found: string[][] = [];
  const queue = [...items.entries()];
  const work = async () => {
    for (let next = queue.shift(); next; next = queue.shift()) found[next[0]] = await find(next[1]);
  };
  await Promise.all(Array.from({ length: 2 * availableParallelism() }, work));
  return found.flat();
}
