// The namespace of Warren in the current context.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { type RunOptions, run } from './run.ts';

export const NAMESPACE = 'warren';

/** In the order in which they are deployed. */
export const SERVICES = ['user', 'session', 'order', 'payment', 'email', 'gateway'] as const;

export const RELEASES = ['rabbitmq', 'postgresql', ...SERVICES] as const;

export const kubectl = (args: readonly string[], options?: RunOptions): Promise<string> =>
  run('kubectl', ['--namespace', NAMESPACE, ...args], options);

export const helm = (args: readonly string[], options?: RunOptions): Promise<string> =>
  run('helm', ['--namespace', NAMESPACE, ...args], options);

/** `kubectl get` as JSON. */
// biome-ignore lint/suspicious/noExplicitAny: a test looks into it as it likes
export const get = async (...args: string[]): Promise<any> =>
  JSON.parse(await kubectl(['get', ...args, '-o', 'json']));

export interface Pod {
  name: string;
  uid: string;
  /** How often its containers were started again. */
  restarts: number;
  ready: boolean;
}

/** The pods that are not on their way out, of one name or of all; test pods and finished ones left out. */
export async function podsOf(name?: string): Promise<Pod[]> {
  const selector = name === undefined ? 'app.kubernetes.io/part-of=warren' : `app.kubernetes.io/name=${name}`;
  const { items } = await get('pods', '-l', `${selector},app.kubernetes.io/component!=test`);
  return (
    items
      .filter(
        // biome-ignore lint/suspicious/noExplicitAny: what Kubernetes says
        ({ metadata, status }: any) =>
          metadata.deletionTimestamp === undefined && !['Succeeded', 'Failed'].includes(status.phase),
      )
      // biome-ignore lint/suspicious/noExplicitAny: what Kubernetes says
      .map(({ metadata, status }: any) => ({
        name: metadata.name,
        uid: metadata.uid,
        restarts: (status.containerStatuses ?? []).reduce(
          (sum: number, { restartCount }: { restartCount: number }) => sum + restartCount,
          0,
        ),
        ready: (status.conditions ?? []).some(
          ({ type, status: is }: { type: string; status: string }) => type === 'Ready' && is === 'True',
        ),
      }))
  );
}

/** Waits until a Deployment or StatefulSet has all its pods, of its latest revision. */
export const rolledOut = (workload: string, seconds = 300): Promise<string> =>
  kubectl(['rollout', 'status', workload, `--timeout=${seconds}s`], { timeout: (seconds + 10) * 1_000 });

export const everythingRolledOut = async (): Promise<void> => {
  for (const name of ['rabbitmq', 'postgresql']) await rolledOut(`statefulset/${name}`);
  for (const name of SERVICES) await rolledOut(`deployment/${name}`);
};

/** A value of a Secret. */
export async function secret(name: string, key: string): Promise<string> {
  const { data } = await get('secret', name);
  if (data?.[key] === undefined) throw new Error(`the Secret ${name} has no key ${key}`);
  return Buffer.from(data[key], 'base64').toString();
}

/** What a statement of the superuser's gives in a service's database: lines of fields between `|`. */
export const sql = (service: string, statements: string): Promise<string> =>
  kubectl(
    [
      ...['exec', '-i', 'statefulset/postgresql', '-c', 'postgresql', '--'],
      ...['psql', '-qXAt', '-v', 'ON_ERROR_STOP=1', '-U', 'postgres', '-d', `warren_${service}`],
    ],
    { input: statements },
  );

/** Messages in every queue that outlives its connection, by name. */
export async function queueDepths(): Promise<Map<string, number>> {
  const output = await kubectl([
    ...['exec', 'statefulset/rabbitmq', '-c', 'rabbitmq', '--'],
    ...['rabbitmqctl', '--quiet', '--formatter', 'json', 'list_queues', 'name', 'messages', 'exclusive'],
  ]);
  const queues: { name: string; messages: number; exclusive: boolean }[] = JSON.parse(output);
  return new Map(
    queues.filter(({ exclusive }) => !exclusive).map(({ name, messages }) => [name, messages] as const),
  );
}

export interface Forward {
  host: string;
  port: number;
  close(): void;
}

/**
 * `kubectl port-forward`, as a person would use it. It ends with the pod that it leads to.
 *
 * @param local port on this machine; default: a free one
 */
export async function forward(target: string, port: number, local?: number): Promise<Forward> {
  const child = spawn('kubectl', [
    ...['--namespace', NAMESPACE, 'port-forward', target, `${local ?? ''}:${port}`],
  ]);
  let said = '';
  child.stderr.on('data', (chunk) => (said += chunk));
  for await (const line of createInterface(child.stdout)) {
    const [, taken] = /^Forwarding from 127\.0\.0\.1:(\d+)/.exec(line) ?? [];
    if (taken === undefined) continue;
    child.stdout.resume();
    return { host: '127.0.0.1', port: Number(taken), close: () => child.kill() };
  }
  child.kill();
  throw new Error(`kubectl port-forward ${target} ${port} ended: ${said}`);
}
