// Load from a Job in the cluster: a port-forward would die with the pod it leads to.
import { readFileSync } from 'node:fs';
import { eventually } from '@warren/testkit';
import { deployed, type Kube } from './kube.ts';

export interface LoadOptions {
  /** Sign-ups a second. */
  rate: number;
  /** Whether everybody places an order of their own, too, and gets their overview. Default false. */
  orders?: boolean;
  /** ms in which a sign-up that failed is repeated, under the same key. Default 0: never. */
  patience?: number;
}

export interface SignUp {
  n: number;
  /** Of the user, once there was a 201. */
  id?: string;
  /** From the first attempt to the 201, ms. */
  ms: number;
  /** When and how attempts failed. */
  failures: string[];
  /** The order they placed, if they did. */
  order?: { id: string; price: number };
  /** Parts that their overview lacked; `undefined` where there was none. */
  missing?: string[];
}

export interface Outcome {
  /** Of all e-mail addresses. */
  prefix: string;
  signUps: SignUp[];
  seconds: number;
}

export interface Load {
  /** Ends it, and tells what became of it. */
  end(): Promise<Outcome>;
  /** Removes it from the cluster, also while it runs. */
  remove(): Promise<void>;
}

const script = readFileSync(new URL('load.mjs', import.meta.url), 'utf8');

/** Resolves when the first sign-up has begun. */
export async function startLoad(
  { rate, patience = 0, orders = false }: LoadOptions,
  { get, kubectl }: Kube = deployed,
): Promise<Load> {
  const prefix = `load-${Date.now().toString(36)}`;
  const { spec } = await get('deployment', 'gateway');
  const { image, imagePullPolicy } = spec.template.spec.containers[0];
  const labels = { 'app.kubernetes.io/name': prefix, 'app.kubernetes.io/component': 'test' };
  const env = { URL: 'http://gateway', PREFIX: prefix, RATE: rate, PATIENCE: patience, ORDERS: orders };
  const objects = [
    {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: prefix, labels },
      data: { 'load.mjs': script },
    },
    {
      apiVersion: 'batch/v1',
      kind: 'Job',
      metadata: { name: prefix, labels },
      spec: {
        backoffLimit: 0,
        activeDeadlineSeconds: 1_800,
        template: {
          metadata: { labels },
          spec: {
            restartPolicy: 'Never',
            automountServiceAccountToken: false,
            enableServiceLinks: false,
            securityContext: {
              runAsNonRoot: true,
              runAsUser: 1000,
              seccompProfile: { type: 'RuntimeDefault' },
            },
            containers: [
              {
                name: 'load',
                image,
                imagePullPolicy,
                command: ['node', '/load/load.mjs'],
                env: Object.entries(env).map(([name, value]) => ({ name, value: String(value) })),
                securityContext: {
                  allowPrivilegeEscalation: false,
                  readOnlyRootFilesystem: true,
                  capabilities: { drop: ['ALL'] },
                },
                resources: { requests: { cpu: '50m', memory: '128Mi' }, limits: { memory: '512Mi' } },
                volumeMounts: [{ name: 'load', mountPath: '/load', readOnly: true }],
              },
            ],
            volumes: [{ name: 'load', configMap: { name: prefix } }],
          },
        },
      },
    },
  ];
  const lines = async () =>
    (await kubectl(['logs', `job/${prefix}`])).split('\n').flatMap((line) => {
      if (!line.startsWith('{')) return [];
      return [JSON.parse(line)];
    });
  const remove = async () => {
    await kubectl([
      ...[
        'delete',
        'job,configmap',
        prefix,
        '--ignore-not-found',
        '--grace-period=0',
        '--force',
        '--wait=false',
      ],
    ]);
  };

  await kubectl(['apply', '-f', '-'], {
    input: JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects }),
  });
  try {
    await eventually(async () => (await lines()).some(({ began }) => began), {
      timeout: 60_000,
      interval: 500,
    });
  } catch (error) {
    await remove();
    throw error;
  }
  return {
    async end() {
      await kubectl(['exec', `job/${prefix}`, '--', 'node', '-e', 'process.kill(1, "SIGUSR2")']);
      await kubectl(['wait', `job/${prefix}`, '--for=condition=Complete', '--timeout=300s'], {
        timeout: 310_000,
      });
      const all = await lines();
      const last = all.find(({ ended }) => ended);
      const signUps = all.filter(({ n }) => n !== undefined);
      await remove();
      return { prefix, signUps, seconds: last.seconds };
    },
    remove,
  };
}
