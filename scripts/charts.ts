// Checks charts/, k8s/ and what is generated in them:  node scripts/charts.ts [--write]
// Lints every chart, renders it with several sets of values, and validates what comes out with kubeconform where that is installed
// (KUBE_SCHEMAS names its schemas, KUBE_VERSION the version). With --write it first generates what is generated: the services'
// values.schema.json, which is the library's, and the tables of values in the READMEs, from the comments in values.yaml.
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { files, root } from './tree.ts';

const LIBRARY = 'chassis';
const KUBE_VERSION = process.env.KUBE_VERSION ?? '1.34.0';
/** Values with which a chart is rendered besides its own; every one has to give valid manifests. */
const VALUES: Record<string, string[][]> = {
  service: [
    [],
    ['-f', 'k8s/prod-like/service.yaml'],
    [
      '--set',
      'metrics.serviceMonitor.enabled=true,metrics.rules.enabled=true,debug=true,otlp.endpoint=http://otel:4318',
    ],
    [
      '--set',
      'networkPolicy.enabled=false,podDisruptionBudget.enabled=false,amqp.enabled=false,database.enabled=false',
    ],
    [
      '--set',
      'amqp.existingSecret=a,database.existingSecret=b,database.key=uri,trust.existingSecret=c,secrets[0].variable=X,secrets[0].secret=d,secrets[0].key=e,networkPolicy.ports={587},imagePullSecrets={f},config.PAGE=10',
    ],
  ],
  rabbitmq: [
    [],
    ['-f', 'k8s/prod-like/rabbitmq.yaml'],
    ['-f', 'charts/rabbitmq/values-production.yaml'],
    [
      '--set',
      'services.ledger.enabled=true,services.user.existingSecret=a,auth.existingSecret=b,persistence.enabled=false',
    ],
    [
      '--set',
      'tls.enabled=true,tls.existingSecret=a,networkPolicy.enabled=false,podDisruptionBudget.enabled=false',
    ],
  ],
  postgresql: [
    [],
    [
      '--set',
      'services.ledger.enabled=true,services.user.existingSecret=a,auth.existingSecret=b,persistence.enabled=false',
    ],
  ],
};
/** Values that have to be refused, and what the refusal has to name. */
const REFUSED: [chart: string, values: string, named: string][] = [
  ['user', 'replcas=2', 'replcas'],
  ['user', 'replicas=two', 'replicas'],
  ['user', 'replicas=-1', 'replicas'],
  ['user', 'image.tagg=1', 'tagg'],
  ['user', 'chassis.replicas=-1', 'replicas'],
  ['user', 'shutdown.drainDelay=30', 'shutdown.drainDelay'],
  ['user', 'autoscaling.enabled=true,autoscaling.minReplicas=9', 'autoscaling.minReplicas'],
  ['rabbitmq', 'replicas=2', 'replicas'],
  ['rabbitmq', 'replicas=three', 'replicas'],
  ['rabbitmq', 'services.ledger.secret=a', 'secret'],
  ['rabbitmq', 'tls.enabled=true', 'tls.existingSecret'],
  ['postgresql', 'persistence.size=big', 'size'],
];

const charts = readdirSync(join(root, 'charts'))
  .filter((name) => existsSync(join(root, 'charts', name, 'Chart.yaml')))
  .sort();
const isService = (chart: string) =>
  read(`charts/${chart}/Chart.yaml`).includes(`name: ${LIBRARY}\n    version`);
const findings: string[] = [];

for (const [file, wanted] of generated()) {
  if (existsSync(join(root, file)) && same(file, read(file), wanted)) continue;
  if (process.argv.includes('--write')) writeFileSync(join(root, file), wanted);
  else
    findings.push(
      `${file} is not what it is generated from: write it anew with \`node scripts/charts.ts --write\``,
    );
}

if (spawnSync('helm', ['version']).error) {
  console.log(
    'charts: helm is not installed, so they are neither linted nor rendered; https://helm.sh/docs/intro/install',
  );
} else {
  const validates = !spawnSync('kubeconform', ['-v']).error;
  if (!validates)
    console.log(
      'charts: kubeconform is not installed, so the manifests are not validated; https://github.com/yannh/kubeconform',
    );
  const copy = packed();
  try {
    for (const chart of charts) check(copy, chart, validates);
    for (const [chart, values, named] of REFUSED) {
      const { code, output } = run('helm', template(copy, chart, ['--set', values]));
      if (code === 0) findings.push(`charts/${chart} takes --set ${values}`);
      else if (!output.includes(named))
        findings.push(`charts/${chart} refuses --set ${values} without naming ${named}:\n${output}`);
    }
    if (validates)
      validate('k8s/', files('k8s/{namespace,network-policies,monitoring/*}.yaml').map(read).join('\n---\n'));
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
}
for (const finding of findings) console.error(finding);
process.exitCode = findings.length > 0 ? 1 : 0;

/** A copy of charts/ in which every service's chart has the library: the checkout stays as it is. */
function packed(): string {
  const copy = mkdtempSync(join(tmpdir(), 'warren-charts-'));
  for (const chart of charts) {
    cpSync(join(root, 'charts', chart), join(copy, chart), {
      recursive: true,
      filter: (from) => !/\/charts\/[^/]+\/charts/.test(from),
    });
  }
  for (const chart of charts.filter(isService))
    cpSync(join(copy, LIBRARY), join(copy, chart, 'charts', LIBRARY), { recursive: true });
  return copy;
}

function check(copy: string, chart: string, validates: boolean): void {
  const lint = run('helm', [
    'lint',
    '--strict',
    '--quiet',
    '--kube-version',
    KUBE_VERSION,
    join(copy, chart),
  ]);
  if (lint.code !== 0) findings.push(`charts/${chart}: ${lint.output}`);
  if (chart === LIBRARY) return;
  // The services differ in their values alone: one of them, and the gateway, stand for all in every variation.
  const varied = !isService(chart) || chart === 'user' || chart === 'gateway';
  for (const values of (varied && VALUES[isService(chart) ? 'service' : chart]) || [[]]) {
    const { code, output } = run('helm', template(copy, chart, values));
    const what = `charts/${chart} with ${values.join(' ') || 'its own values'}`;
    if (code !== 0) findings.push(`${what}: ${output}`);
    else if (validates) validate(what, output);
  }
}

function template(copy: string, chart: string, values: string[]): string[] {
  return [
    'template',
    chart,
    join(copy, chart),
    '--namespace',
    'warren',
    '--kube-version',
    KUBE_VERSION,
    ...values,
  ];
}

function validate(what: string, manifests: string): void {
  // The operator's resources are in no schema of Kubernetes.
  const schemas = process.env.KUBE_SCHEMAS
    ? ['-schema-location', process.env.KUBE_SCHEMAS]
    : ['-kubernetes-version', KUBE_VERSION];
  const options = ['-strict', '-skip', 'ServiceMonitor,PrometheusRule', ...schemas, '-'];
  const { code, output } = run('kubeconform', options, manifests);
  if (code !== 0) findings.push(`${what}: ${output}`);
}

function run(command: string, args: string[], input?: string): { code: number | null; output: string } {
  const { status, stdout, stderr } = spawnSync(command, args, {
    cwd: root,
    encoding: 'utf8',
    input,
    maxBuffer: 1 << 26,
  });
  return { code: status, output: status === 0 ? stdout : `${stdout}${stderr}`.trim() };
}

/** Path and content of every generated file. */
function* generated(): Generator<[file: string, content: string]> {
  const library = JSON.parse(read(`charts/${LIBRARY}/values.schema.json`));
  const { global, ...properties } = library.properties;
  const schema = { ...library, properties: { global, [LIBRARY]: { type: 'object' }, ...properties } };
  for (const chart of charts) {
    if (isService(chart))
      yield [`charts/${chart}/values.schema.json`, `${JSON.stringify(schema, null, 2)}\n`];
    const readme = `charts/${chart}/README.md`;
    if (!existsSync(join(root, readme))) continue;
    const [before, after] = read(readme).split(/(?<=<!-- values -->\n)[\s\S]*(?=<!-- \/values -->)/);
    yield [readme, `${before}${tableOf(`charts/${chart}/values.yaml`)}${after ?? ''}`];
  }
}

/** JSON is the same however it is laid out. */
function same(file: string, is: string, wanted: string): boolean {
  const normal = (text: string) => (file.endsWith('.json') ? JSON.stringify(JSON.parse(text)) : text);
  return normal(is) === normal(wanted);
}

/** The table of a values.yaml: a row for every key that a comment `# -- …` stands above. */
function tableOf(file: string): string {
  const rows = ['| value | default | what it is |', '| --- | --- | --- |'];
  const path: { indent: number; key: string }[] = [];
  let description = '';
  for (const line of read(file).split('\n')) {
    const comment = /^\s*# (--)? ?(.*)$/.exec(line);
    if (comment) {
      if (comment[1]) description = comment[2] ?? '';
      else if (description) description += ` ${comment[2]}`;
      continue;
    }
    const [, space = '', key, value = ''] = /^(\s*)([\w.-]+):\s*(.*)$/.exec(line) ?? [];
    if (key === undefined) continue;
    while ((path.at(-1)?.indent ?? -1) >= space.length) path.pop();
    path.push({ indent: space.length, key });
    if (description) {
      const name = path.map((part) => part.key).join('.');
      rows.push(
        `| \`${name}\` | ${value ? `\`${value}\`` : 'see values.yaml'} | ${description.replaceAll('|', '\\|')} |`,
      );
    }
    description = '';
  }
  return `${rows.join('\n')}\n`;
}

function read(file: string): string {
  return readFileSync(join(root, file), 'utf8');
}
