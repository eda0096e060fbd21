// Runs every service of this checkout as a process on its own ports, and restarts it when it exits.
import { createWriteStream, existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { isTaken, type RunningProcess, startProcess } from '../../packages/testkit/src/index.ts';
import { root } from '../tree.ts';

export interface Service {
  name: string;
  /** Seen from the root. */
  directory: string;
  /** Undefined: it has only the admin port. */
  port?: number;
  adminPort: number;
  /** It has migrations, or is an example. */
  hasDatabase: boolean;
  /** Of an example without a broker.ts: its AsyncAPI document. */
  asyncapi?: string;
}

export interface Running extends Service {
  stop(): Promise<void>;
  /** Sends SIGKILL, like a crash. The service restarts a second later. */
  kill(): void;
}

/** Variables of the caller's environment that a service must not inherit. */
const NOT_INHERITED =
  /^(npm_|MAKE|MFLAGS|NODE_OPTIONS$|(ADMIN_)?PORT(_FILE)?$|AMQP_|DATABASE_|INSTANCE$|ONCE$|AUTH(_|$))/;

/** The services in services/, with the ports that their config.ts gives them. */
export function findServices(): Service[] {
  const home = join(root, 'services');
  return readdirSync(home)
    .filter((name) => statSync(join(home, name, 'src/main.ts'), { throwIfNoEntry: false }))
    .map((name) => {
      const config = readFileSync(join(home, name, 'src/config.ts'), 'utf8');
      const defaultOf = (key: string) => {
        const [, digits] = new RegExp(`\\b${key}: port\\((\\d+)\\)`).exec(config) ?? [];
        if (!digits)
          throw new Error(`services/${name}/src/config.ts has no default for ${key}: add ${key}: port(…)`);
        return Number(digits);
      };
      const hasDatabase = existsSync(join(home, name, 'migrations'));
      const ports = { port: defaultOf('PORT'), adminPort: defaultOf('ADMIN_PORT') };
      return { name, directory: `services/${name}`, ...ports, hasDatabase };
    })
    .sort((one, other) => one.port - other.port);
}

/**
 * The examples of these names, as the field `warren` of their package.json describes them.
 * @throws {Error} when one of them does not exist, or has no such field
 */
export function findExamples(names: readonly string[]): Service[] {
  const known = readdirSync(join(root, 'examples'));
  return names.map((name) => {
    if (!known.includes(name))
      throw new Error(`There is no example '${name}'. The examples are ${known.join(', ')}.`);
    const directory = `examples/${name}`;
    const { warren } = JSON.parse(readFileSync(join(root, directory, 'package.json'), 'utf8'));
    if (typeof warren?.service !== 'string' || typeof warren.adminPort !== 'number')
      throw new Error(`${directory}/package.json needs "warren": { "service": "NAME", "adminPort": 9020 }`);
    const { service, port, adminPort, asyncapi } = warren;
    return {
      name: service,
      directory,
      adminPort,
      hasDatabase: true,
      ...(port !== undefined && { port }),
      ...(asyncapi !== undefined && { asyncapi: join(root, directory, asyncapi) }),
    };
  });
}

/** @returns a sentence about the first port that is in use */
export async function takenPort(services: Service[], issuer?: number): Promise<string | undefined> {
  if (issuer !== undefined && (await isTaken(issuer)))
    return `Port ${issuer} is in use, but the token issuer needs it: stop the process that listens on it.`;
  for (const { name, port, adminPort } of services) {
    if (port !== undefined && (await isTaken(port)))
      return `Port ${port} is in use, but the ${name} service needs it: stop the process that listens on it.`;
    if (await isTaken(adminPort))
      return `Port ${adminPort} is in use, but the ${name} service needs it for its metrics: stop the process that listens on it.`;
  }
  return undefined;
}

/** Time for a graceful shutdown before SIGKILL. */
const KILL_AFTER_MS = 7_000;

export interface StartOptions {
  env: Record<string, string>;
  /** Path of the file for its output. */
  log: string;
  /** The process exited by itself, and restarts. */
  onDeath(how: string): void;
  /** It is ready again. */
  onReturn(): void;
  /** It logged a warning or an error. */
  onWarning(message: string): void;
}

/** Returns when the service is ready. */
export async function startService(
  service: Service,
  { env, log, onDeath, onReturn, onWarning }: StartOptions,
): Promise<Running> {
  const output = createWriteStream(log, { flags: 'a' });
  let stopping = false;
  let current = start();

  function start(): RunningProcess {
    const passed = Object.entries(process.env).filter(([name]) => !NOT_INHERITED.test(name));
    const running = startProcess({
      cwd: join(root, service.directory),
      env: {
        ...Object.fromEntries(passed),
        SHUTDOWN_GRACE: '5',
        ...env,
        PORT: service.port,
        ADMIN_PORT: service.adminPort,
      },
      onLine(line) {
        output.write(`${line}\n`);
        const warning = warningIn(line);
        if (warning) onWarning(warning);
      },
    });
    return running;
  }

  async function watch(): Promise<void> {
    const code = await current.ended;
    if (stopping) return;
    onDeath(code === null ? 'killed' : `exited with code ${code}`);
    await wait(1_000);
    if (stopping) return;
    current = start();
    current.ready().then(onReturn, () => {});
    void watch();
  }

  await current.ready({ timeout: 60_000 });
  void watch();

  return {
    ...service,
    kill: () => current.signal('SIGKILL'),
    async stop() {
      stopping = true;
      const timer = setTimeout(() => current.signal('SIGKILL'), KILL_AFTER_MS);
      await current.kill('SIGTERM');
      clearTimeout(timer);
      output.end();
    },
  };
}

/** The message of a log line, if its level is warn or higher. */
function warningIn(line: string): string | undefined {
  try {
    const { level, msg, err } = JSON.parse(line) as {
      level: number | string;
      msg: string;
      err?: { message?: string };
    };
    // Failed requests have a common cause, which has its own log line.
    if (msg === 'request') return undefined;
    const grave = typeof level === 'number' ? level >= 40 : /warn|error|fatal/i.test(level);
    if (!grave) return undefined;
    return err?.message && !msg.includes(err.message) ? `${msg}: ${err.message}` : msg;
  } catch {
    return undefined;
  }
}
