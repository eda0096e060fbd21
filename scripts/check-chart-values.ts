// Checks the effect of values, from a file and from `--set`: numbers reach the container as they were written, null removes any
// default, and features of other charts exist. Each row is a report about a chart, this one or another.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './tree.ts';

type Json = string | number | boolean | null | Json[] | { [key: string]: Json };
type Values = { [key: string]: Json };

export interface Outcome {
  code: number;
  output: string;
}

/** Renders a chart of the scratch directory. `title` names the files that are written; more arguments go to `helm template`. */
export type Render = (chart: string, title: string, values: object, args?: string[]) => Promise<Outcome>;

interface Case {
  chart: string;
  title: string;
  values: Values;
  /** From the root of the checkout. */
  valuesFile?: string;
  /** What the rendering has to contain, each on one line. */
  says?: string[];
  /** What it must not contain. */
  omits?: string[];
}

const SHA = `sha256:${'0a'.repeat(32)}`;
const LARGEST = Number.MAX_SAFE_INTEGER;
const OPENSHIFT = { podSecurityContext: { runAsUser: null, runAsGroup: null, fsGroup: null } };
const infrastructure = ['rabbitmq', 'postgresql'];

/** What every chart offers: its image is `own` where the values do not say. */
const everywhere = (chart: string, own: string): Case[] => [
  {
    chart,
    title: 'numbers',
    values: {
      extraEnv: [
        { name: 'LIMIT', value: 1_000_000 },
        { name: 'SHARE', value: 0.5 },
        { name: 'LARGEST', value: LARGEST },
      ],
      annotations: { 'example.com/a': 1_000_000 },
      podAnnotations: { 'example.com/b': 12_345_678, 'example.com/c': true },
      nodeSelector: { 'example.com/d': 20_000_000 },
      podSecurityContext: { runAsUser: 1_000_680_000 },
      resources: { limits: { memory: 536_870_912 } },
    },
    says: [
      'value: "1000000"',
      'value: "0.5"',
      `value: "${LARGEST}"`,
      '"example.com/a": "1000000"',
      '"example.com/b": "12345678"',
      '"example.com/c": "true"',
      '"example.com/d": "20000000"',
      'runAsUser: 1000680000',
      'memory: 536870912',
    ],
  },
  { chart, title: 'security', values: {}, says: ['runAsUser: ', 'runAsGroup: ', 'fsGroup: '] },
  {
    chart,
    title: 'openshift',
    values: OPENSHIFT,
    says: ['runAsNonRoot: true', 'type: RuntimeDefault', 'allowPrivilegeEscalation: false', '- ALL'],
    omits: ['runAsUser', 'runAsGroup', 'fsGroup: '],
  },
  {
    chart,
    title: 'openshift-values',
    values: {},
    valuesFile: 'k8s/openshift/values.yaml',
    says: ['runAsNonRoot: true'],
    omits: ['runAsUser', 'runAsGroup', 'fsGroup: '],
  },
  {
    chart,
    title: 'pull-secrets',
    values: { imagePullSecrets: ['one', { name: 'two' }], global: { imagePullSecrets: [{ name: 'three' }] } },
    says: ['- name: one', '- name: two', '- name: three'],
  },
  {
    chart,
    title: 'registry',
    values: { global: { imageRegistry: 'registry.example.com:5000', 'other.chart': 'is not ours' } },
    says: [`image: registry.example.com:5000/${own}:`],
    omits: [`image: ${own}`],
  },
  {
    chart,
    title: 'own-registry',
    values: {
      global: { imageRegistry: 'registry.example.com' },
      image: { repository: 'mirror.example.com/it', digest: SHA },
    },
    says: [`image: mirror.example.com/it@${SHA}`],
    omits: ['registry.example.com/mirror'],
  },
  {
    chart,
    title: 'extras',
    values: {
      extraEnv: [{ name: 'POD', valueFrom: { fieldRef: { fieldPath: 'status.podIP' } } }],
      envFrom: [{ secretRef: { name: 'flags' } }],
      extraVolumes: [{ name: 'data', configMap: { name: 'data' } }],
      extraVolumeMounts: [{ name: 'data', mountPath: '/extra' }],
      topologySpreadConstraints: [
        { maxSkew: 2, topologyKey: 'example.com/rack', whenUnsatisfiable: 'DoNotSchedule' },
      ],
      service: { annotations: { 'example.com/service': 'yes' } },
      annotations: { 'reloader.example.com/auto': true },
      affinity: {
        podAntiAffinity: {
          requiredDuringSchedulingIgnoredDuringExecution: [{ topologyKey: 'example.com/host' }],
        },
      },
      tolerations: [{ key: 'spot', operator: 'Exists' }],
    },
    says: [
      '- name: POD',
      'fieldPath: status.podIP',
      'name: flags',
      'mountPath: /extra',
      'topologyKey: example.com/rack',
      `app.kubernetes.io/name: ${chart}`,
      '"example.com/service": "yes"',
      '"reloader.example.com/auto": "true"',
      'topologyKey: example.com/host',
      'key: spot',
    ],
  },
];

const cases: Case[] = [
  ...everywhere('user', 'warren/user'),
  ...everywhere('rabbitmq', 'rabbitmq'),
  ...everywhere('postgresql', 'postgres'),
  {
    chart: 'user',
    title: 'config',
    values: {
      config: {
        PAYMENT_LIMIT: 1_000_000,
        A: 12_345_678,
        B: -1_000_000,
        C: 12_345_678.5,
        D: 0.5,
        E: true,
        F: '1e+06',
        G: '0123',
        H: LARGEST,
        LOG_LEVEL: 'debug',
      },
      podLabels: { 'example.com/team': 1_000_000 },
      metrics: { rules: { enabled: true, outboxAge: 1_000_000 } },
    },
    says: [
      '"PAYMENT_LIMIT": "1000000"',
      '"A": "12345678"',
      '"B": "-1000000"',
      '"C": "12345678.5"',
      '"D": "0.5"',
      '"E": "true"',
      '"F": "1e+06"',
      '"G": "0123"',
      `"H": "${LARGEST}"`,
      '"LOG_LEVEL": "debug"',
      '"example.com/team": "1000000"',
      '> 1000000',
    ],
    omits: ['e+06\n', 'e+07', '"LOG_LEVEL": "info"'],
  },
  {
    chart: 'postgresql',
    title: 'settings',
    values: { settings: { max_connections: 1_000_000, seq_page_cost: 0.5, max_wal_senders: null } },
    says: ['- "max_connections=1000000"', '- "seq_page_cost=0.5"'],
    omits: ['max_wal_senders'],
  },
  {
    chart: 'rabbitmq',
    title: 'memory',
    values: {
      resources: { limits: { memory: 1_073_741_824 } },
      metrics: { rules: { enabled: true, queueDepth: 1_000_000 } },
      terminationGracePeriodSeconds: 1_000_000,
    },
    says: [
      'total_memory_available_override_value = 1073741824',
      '> 1000000',
      'terminationGracePeriodSeconds: 1000000',
    ],
  },
  {
    chart: 'user',
    title: 'annotations',
    values: {
      networkPolicy: { public: true },
      service: { type: 'LoadBalancer', annotations: { 'example.com/balancer': 'internal' } },
    },
    says: ['name: user-public', '"example.com/balancer": "internal"'],
  },
  // The default of one chart over the library's: null removes both.
  {
    chart: 'gateway',
    title: 'no-cpu-request',
    values: { resources: { requests: { cpu: null } } },
    omits: ['cpu: 100m', 'cpu: 25m'],
  },
  {
    chart: 'gateway',
    title: 'no-resources',
    values: { resources: null },
    says: ['resources:'],
    omits: ['cpu: 100m', 'memory: 256Mi'],
  },
  {
    chart: 'user',
    title: 'no-cpu-limit',
    values: { resources: { limits: { cpu: null } } },
    says: ['cpu: 100m', 'memory: 256Mi'],
    omits: ['cpu: "1"', "cpu: '1'"],
  },
  { chart: 'user', title: 'no-replicas', values: { replicas: null }, omits: ['replicas:'] },
  {
    chart: 'user',
    title: 'no-spread',
    values: { topologySpreadConstraints: null },
    omits: ['topologySpread'],
  },
  {
    chart: 'user',
    title: 'no-grace',
    values: { shutdown: null },
    omits: ['GRACE', 'DRAIN', 'terminationGracePeriodSeconds'],
  },
  // Prometheus may come from the namespaces that are named.
  ...['user', 'rabbitmq'].flatMap((chart): Case[] => [
    {
      chart,
      title: 'prometheus',
      values: {},
      says: ['kubernetes.io/metadata.name: monitoring'],
      omits: ['namespaceSelector: {}'],
    },
    {
      chart,
      title: 'prometheus-elsewhere',
      values: {
        networkPolicy: {
          prometheus: {
            namespaces: ['observability'],
            labels: { app: 'prom', 'app.kubernetes.io/name': null },
          },
        },
      },
      says: ['kubernetes.io/metadata.name: observability', '"app": "prom"'],
      omits: ['metadata.name: monitoring', '"app.kubernetes.io/name": "prometheus"'],
    },
  ]),
  // What is there once holds: the chart's own labels, the values' annotations, and one variable of a name.
  {
    chart: 'user',
    title: 'twice',
    values: {
      podAnnotations: { 'prometheus.io/port': 8080 },
      podLabels: { 'app.kubernetes.io/name': 'other', team: 'shop' },
    },
    says: ['"prometheus.io/port": "8080"', '"team": "shop"'],
    omits: ['"9000"', '"other"'],
  },
  // A chart's version in a volume's labels would keep a StatefulSet from any upgrade.
  ...infrastructure.map((chart) => ({
    chart,
    title: 'volume-claims',
    values: { persistence: { size: '3Gi' } },
    says: ['metadata:\n        name: data\n      spec:', 'storage: 3Gi'],
  })),
  // A Job cannot be changed: it is made anew each time.
  ...infrastructure.map((chart) => ({
    chart,
    title: 'job-is-a-hook',
    values: { reconcile: { timeout: 400 } },
    says: [
      'helm.sh/hook: post-install,post-upgrade,post-rollback',
      'helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded',
    ],
  })),
  // A sidecar that does not end would keep a Job from its end.
  ...infrastructure.map((chart) => ({
    chart,
    title: 'job',
    values: { reconcile: { podAnnotations: { 'sidecar.istio.io/inject': false } } },
    says: ['"sidecar.istio.io/inject": "false"'],
  })),
];

/** Findings of all cases, and of null for each default of each chart. */
export async function checkChartValues(
  services: readonly string[],
  render: Render,
  each: <T>(items: readonly T[], find: (item: T) => Promise<string[]>) => Promise<string[]>,
  scratch: string,
): Promise<string[]> {
  const ways = cases.flatMap((one) => ['file', 'set'].map((way) => ({ ...one, way })));
  const found = await each(ways, async ({ chart, title, values, valuesFile, says = [], omits = [], way }) => {
    const what = `charts/${chart} with ${JSON.stringify(values)} (${way})`;
    const file = valuesFile ? ['--values', join(root, valuesFile)] : [];
    const { code, output } =
      way === 'file'
        ? await render(chart, `${title}-file`, values, file)
        : await render(chart, `${title}-set`, {}, [...file, ...setting(values)]);
    if (code !== 0) return [`${what}: ${output}`];
    return [
      ...says.filter((text) => !output.includes(text)).map((text) => `${what} does not say ${text}`),
      ...omits.filter((text) => output.includes(text)).map((text) => `${what} says ${text}`),
    ];
  });
  return [
    ...found,
    ...(await each([...services, ...infrastructure], (chart) => checkNulls(chart, render, scratch))),
  ];
}

const monitored: Values = { metrics: { serviceMonitor: { enabled: true }, rules: { enabled: true } } };
/** Parts that are off by default, so that null is tried for what is in them, too. */
const partsOf = (chart: string): Values => {
  if (chart === 'postgresql') return {};
  if (chart === 'rabbitmq') return monitored;
  return {
    ...monitored,
    autoscaling: { enabled: true },
    ingress: { enabled: true, hosts: [{ host: 'shop.example.com' }] },
    networkPolicy: { public: true },
  };
};

/** Null for all defaults at once, with every part on and with every part off, in a file and in `--set`; where that fails, one by one. */
async function checkNulls(chart: string, render: Render, scratch: string): Promise<string[]> {
  const defaults = await defaultsOf(chart, render, scratch);
  const leaves = [...leavesOf(defaults)];
  const on = partsOf(chart);
  const kept = new Set([...leavesOf(on)].map(({ path }) => path.join('.')));
  // The one thing that a HorizontalPodAutoscaler cannot be without.
  kept.add('autoscaling.maxReplicas');
  const inside = leaves.filter(({ path, value }) => typeof value !== 'boolean' && !kept.has(path.join('.')));

  const findings = leaves.length > 0 ? [] : [`charts/${chart}: its defaults cannot be read`];
  for (const [title, base, removed] of [
    ['nothing', {}, leaves],
    ['every-part', on, inside],
  ] as const)
    for (const way of ['file', 'set'] as const) {
      const remove = (some: readonly Leaf[], name: string) =>
        way === 'file'
          ? render(
              chart,
              name,
              some.reduce((values, { path }) => without(values, path), structuredClone(base)),
            )
          : render(chart, name, base, setting(some.reduce((values, { path }) => without(values, path), {})));
      const { code, output } = await remove(removed, `null-${title}-${way}`);
      if (code === 0) continue;
      const before = findings.length;
      for (const leaf of removed) {
        const alone = await remove([leaf], `null-one-${way}`);
        if (alone.code !== 0)
          findings.push(
            `charts/${chart}: ${leaf.path.join('.')} is not removed by null (${way}): ${alone.output}`,
          );
      }
      if (findings.length === before)
        findings.push(`charts/${chart} with null for all of its defaults (${way}): ${output}`);
    }
  return findings;
}

interface Leaf {
  path: string[];
  value: Json;
}

function* leavesOf(values: Values, path: string[] = []): Generator<Leaf> {
  for (const [key, value] of Object.entries(values)) {
    const isMap = typeof value === 'object' && value !== null && !Array.isArray(value);
    if (isMap && Object.keys(value).length > 0) yield* leavesOf(value, [...path, key]);
    else yield { path: [...path, key], value };
  }
}

/** The values with null at a path. */
function without(values: Values, [key = '', ...rest]: string[]): Values {
  return { ...values, [key]: rest.length === 0 ? null : without((values[key] as Values) ?? {}, rest) };
}

/** The same values as arguments `--set`. */
function setting(values: Json, path = ''): string[] {
  if (Array.isArray(values)) return values.flatMap((value, index) => setting(value, `${path}[${index}]`));
  if (typeof values === 'object' && values !== null)
    return Object.entries(values).flatMap(([key, value]) =>
      setting(value, `${path}${path && '.'}${key.replaceAll('.', '\\.')}`),
    );
  return ['--set', `${path}=${values}`];
}

/** The default values of a chart, as Helm merges them. */
async function defaultsOf(chart: string, render: Render, scratch: string): Promise<Values> {
  const template = join(scratch, `charts/${chart}/templates/zz-defaults.yaml`);
  writeFileSync(
    template,
    'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: defaults}\ndata:\n  values: {{ .Values | toJson | toJson }}\n',
  );
  try {
    const { output } = await render(chart, 'defaults-only', {}, [
      '--show-only',
      'templates/zz-defaults.yaml',
    ]);
    const { chassis, ...own } = JSON.parse(
      JSON.parse(/^ {2}values: (.*)$/m.exec(output)?.[1] ?? '"{}"'),
    ) as Values;
    return (chassis as Values | undefined) ?? own;
  } finally {
    writeFileSync(template, '');
  }
}
