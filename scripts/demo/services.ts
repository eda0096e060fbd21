// Every service of this checkout, as a process on its own ports, started again when it dies.
import { createWriteStream, existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { isTaken, type RunningProcess, startProcess } from '../../packages/testkit/src/index.ts';
import { root } from '../tree.ts';

export interface Service {
  name: string;
  port: number;
  adminPort: number;
  /** It has migrations. */
  hasDatabase: boolean;
}

export interface Running extends Service {
  stop(): Promise<void>;
  /** SIGKILL, as of a crash; it is started again a second later. */
  kill(): void;
}

/** Names of the caller's environment that mean something else to a service. */
const notOurs =
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
          throw new Error(
            `services/${name}/src/config.ts names no default ${key}: say ${key}: port(…) there`,
          );
        return Number(digits);
      };
      const hasDatabase = existsSync(join(home, name, 'migrations'));
      return { name, port: defaultOf('PORT'), adminPort: defaultOf('ADMIN_PORT'), hasDatabase };
    })
    .sort((one, other) => one.port - other.port);
}

/** One sentence about the first port that something else listens on. */
export async function takenPort(services: Service[], issuer?: number): Promise<string | undefined> {
  if (issuer !== undefined && (await isTaken(issuer)))
    return `Port ${issuer} is taken, and the issuer of tokens needs it: stop what listens there.`;
  for (const { name, port, adminPort } of services) {
    if (await isTaken(port))
      return `Port ${port} is taken, and the ${name} service needs it: stop what listens there.`;
    if (await isTaken(adminPort))
      return `Port ${adminPort} is taken, and the ${name} service needs it for its metrics: stop what listens there.`;
  }
  return undefined;
}

export interface StartOptions {
  env: Record<string, string>;
  /** Its output goes there. */
  log: string;
  /** It died by itself, and is started again. */
  onDeath(how: string): void;
  /** It is back. */
  onReturn(): void;
  /** It logs something that is no everyday matter. */
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
    const passed = Object.entries(process.env).filter(([name]) => !notOurs.test(name));
    const running = startProcess({
      cwd: join(root, 'services', service.name),
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
    onDeath(code === null ? 'was killed' : `ended with exit code ${code}`);
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
      const patience = setTimeout(() => current.signal('SIGKILL'), 7_000);
      await current.kill('SIGTERM');
      clearTimeout(patience);
      output.end();
    },
  };
}

/** What a line of the log says, when it is a warning or worse. */
function warningIn(line: string): string | undefined {
  try {
    const { level, msg, err } = JSON.parse(line) as {
      level: number | string;
      msg: string;
      err?: { message?: string };
    };
    // What keeps requests from being served is told once, in a line of its own.
    if (msg === 'request') return undefined;
    const grave = typeof level === 'number' ? level >= 40 : /warn|error|fatal/i.test(level);
    if (!grave) return undefined;
    return err?.message && !msg.includes(err.message) ? `${msg}: ${err.message}` : msg;
  } catch {
    return undefined;
  }
}
