// Namespaces of the current context.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { type RunOptions, run } from './run.ts';

/** In the order in which they are deployed. */
export const SERVICES = ['user', 'session', 'order', 'payment', 'email', 'gateway'] as const;

export const RELEASES = ['rabbitmq', 'postgresql', ...SERVICES] as const;

export interface Pod {
  name: string;
  uid: string;
  /** Of its first container. */
  image: string;
  /** How often its containers were started again. */
  restarts: number;
  ready: boolean;
}

export interface Forward {
  host: string;
  port: number;
  close(): void;
}

/** One namespace, with anything deployed there. */
export class Kube {
  readonly namespace: string;

  constructor(namespace: string) {
    this.namespace = namespace;
  }

  kubectl = (args: readonly string[], options?: RunOptions): Promise<string> =>
    run('kubectl', ['--namespace', this.namespace, ...args], options);

  helm = (args: readonly string[], options?: RunOptions): Promise<string> =>
    run('helm', ['--namespace', this.namespace, ...args], options);

  /** `kubectl get` as JSON. */
  // biome-ignore lint/suspicious/noExplicitAny: a test looks into it as it likes
  get = async (...args: string[]): Promise<any> =>
    JSON.parse(await this.kubectl(['get', ...args, '-o', 'json']));

  /** The pods that are not on their way out, of one name or of all; test pods and finished ones left out. */
  podsOf = async (name?: string): Promise<Pod[]> => {
    const selector =
      name === undefined ? 'app.kubernetes.io/part-of=warren' : `app.kubernetes.io/name=${name}`;
    const { items } = await this.get('pods', '-l', `${selector},app.kubernetes.io/component!=test`);
    return (
      items
        .filter(
          // biome-ignore lint/suspicious/noExplicitAny: what Kubernetes says
          ({ metadata, status }: any) =>
            metadata.deletionTimestamp === undefined && !['Succeeded', 'Failed'].includes(status.phase),
        )
        // biome-ignore lint/suspicious/noExplicitAny: what Kubernetes says
        .map(({ metadata, spec, status }: any) => ({
          name: metadata.name,
          uid: metadata.uid,
          image: spec.containers[0].image,
          restarts: (status.containerStatuses ?? []).reduce(
            (sum: number, { restartCount }: { restartCount: number }) => sum + restartCount,
            0,
          ),
          ready: (status.conditions ?? []).some(
            ({ type, status: is }: { type: string; status: string }) => type === 'Ready' && is === 'True',
          ),
        }))
    );
  };

  /** Waits until a Deployment or StatefulSet has all its pods, of its latest revision. */
  rolledOut = (workload: string, seconds = 300): Promise<string> =>
    this.kubectl(['rollout', 'status', workload, `--timeout=${seconds}s`], {
      timeout: (seconds + 10) * 1_000,
    });

  everythingRolledOut = async (): Promise<void> => {
    for (const name of ['rabbitmq', 'postgresql']) await this.rolledOut(`statefulset/${name}`);
    for (const name of SERVICES) await this.rolledOut(`deployment/${name}`);
  };

  /** A value of a Secret. */
  secret = async (name: string, key: string): Promise<string> => {
    const { data } = await this.get('secret', name);
    if (data?.[key] === undefined) throw new Error(`the Secret ${name} has no key ${key}`);
    return Buffer.from(data[key], 'base64').toString();
  };

  /** What a statement of the superuser's gives in a service's database: lines of fields between `|`. */
  sql = (service: string, statements: string): Promise<string> =>
    this.kubectl(
      [
        ...['exec', '-i', 'statefulset/postgresql', '-c', 'postgresql', '--'],
        ...['psql', '-qXAt', '-v', 'ON_ERROR_STOP=1', '-U', 'postgres', '-d', `warren_${service}`],
      ],
      { input: statements },
    );

  /** Messages in every queue that outlives its connection, by name. */
  queueDepths = async (): Promise<Map<string, number>> => {
    const output = await this.kubectl([
      ...['exec', 'statefulset/rabbitmq', '-c', 'rabbitmq', '--'],
      ...['rabbitmqctl', '--quiet', '--formatter', 'json', 'list_queues', 'name', 'messages', 'exclusive'],
    ]);
    const queues: { name: string; messages: number; exclusive: boolean }[] = JSON.parse(output);
    return new Map(
      queues.filter(({ exclusive }) => !exclusive).map(({ name, messages }) => [name, messages] as const),
    );
  };

  /**
   * `kubectl port-forward`, as a person would use it. It ends with the pod that it leads to.
   *
   * @param local port on this machine; default: a free one
   */
  forward = async (target: string, port: number, local?: number): Promise<Forward> => {
    const child = spawn('kubectl', [
      ...['--namespace', this.namespace, 'port-forward', target, `${local ?? ''}:${port}`],
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
  };
}

export const NAMESPACE = 'warren';

/** Where `make deploy` deploys. */
export const deployed = new Kube(NAMESPACE);

export const { kubectl, helm, get, podsOf, rolledOut, secret, sql, queueDepths, forward } = deployed;
