// The whole of Warren on this machine: broker, databases, services, then one sign-up followed hop by hop. Stays up until Ctrl-C;
// ONCE=1 ends after the tour, with exit code 0 or 1. AMQP_URL and DATABASE_URL are used where they are given.
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Change,
  createDatabase,
  databaseExists,
  databaseUrl,
  dropDatabase,
  findDefinitions,
  keep,
  loadDefinitions,
  managementOf,
  operate,
  platformDefinitions,
  removeKept,
  startBroker,
  startDatabase,
  watchTransactions,
} from '../packages/testkit/src/index.ts';
import { createScreen } from './demo/screen.ts';
import { findServices, type Service, startService, takenPort } from './demo/services.ts';
import { describe, tour } from './demo/tour.ts';
import { root } from './tree.ts';

const once = process.env.ONCE === '1';
const begun = performance.now();
const screen = createScreen();
const undo: { what: string; run(): Promise<unknown> | unknown }[] = [];
let ending: Promise<never> | undefined;

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    // Again: at once. What is left then is removed by the testkit's keeper.
    if (ending) process.exit(130);
    screen.line();
    end(toured && !once ? 0 : 130);
  });
}

let toured = false;
try {
  await demo();
} catch (error) {
  if (!ending) {
    screen.fault(sentenceOf(error));
    await end(1);
  }
}

async function demo(): Promise<void> {
  const services = findServices();
  const taken = await takenPort(services);
  if (taken) {
    screen.fault(taken);
    process.exit(1);
  }

  screen.title('Warren: starting');
  const scratch = mkdtempSync(join(tmpdir(), 'warren-demo-'));
  const forget = keep({ type: 'directory', path: scratch });
  undo.push({
    what: 'logs',
    run() {
      rmSync(scratch, { recursive: true, force: true });
      forget();
    },
  });

  const [platform, databases] = await Promise.all([startPlatform(services), startDatabases(services)]);
  const { vhost } = platform;
  const environment = (name: string) => ({ AMQP_URL: vhost.url(name), DATABASE_URL: databases.url(name) });

  await Promise.all(
    services.map(async (service) => {
      const { name } = service;
      const since = performance.now();
      const running = await startService(service, {
        env: environment(name),
        log: join(scratch, `${name}.log`),
        onDeath: (how) => screen.step(name, `${how}; it is started again`),
        onReturn: () => screen.step(name, 'is ready again'),
      });
      undo.push({ what: name, run: () => running.stop() });
      screen.step(name, `http://localhost:${service.port}, ready`, performance.now() - since);
    }),
  );

  const listeners = new Set<(service: string, changes: Change[], at: number) => void>();
  for (const { name } of services) {
    const watch = await databases.watch(name, (changes, at) => {
      for (const listener of listeners) listener(name, changes, at);
    });
    if (watch) undo.push({ what: 'looking on', run: watch.close });
  }
  const probe = await vhost.probe('events', '#');

  screen.title('One sign-up, followed');
  const port = (name: string) => services.find((service) => service.name === name) as Service;
  const { userId, elapsed } = await tour({
    screen,
    probe,
    vhost,
    url: (name) => `http://localhost:${port(name).port}`,
    adminUrl: (name) => `http://localhost:${port(name).adminPort}`,
    onTransaction(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  });
  toured = true;

  const total = ((performance.now() - begun) / 1000).toFixed(1);
  screen.line();
  screen.line(
    screen.bold(
      `From the POST to the open session: ${Math.round(elapsed)} ms. From the start of the demo: ${total} s.`,
    ),
  );
  if (once) await end(0);

  addresses(services, userId, platform, databases, scratch);
  listeners.add((service, changes) => live(service, describe(changes)));
  probe.onEvent((event) => live('exchange', `${event.routingKey} from ${event.properties.appId}`));
  // Stays up: the connections keep the process alive.
}

/** The broker, with the platform's exchanges and a user for each service. */
async function startPlatform(services: Service[]) {
  const since = performance.now();
  const names = services.map(({ name }) => name);
  const broker = await startBroker({
    say: (line) => !line.startsWith('broker: ') && screen.step('broker', line),
  });
  undo.push({ what: 'broker', run: () => broker.stop() });
  const given = Boolean(process.env.AMQP_URL);
  const found = findDefinitions(root);
  const known = found?.users?.map(({ name }) => name) ?? [];
  const loaded = await loadDefinitions({
    management: managementOf(broker),
    brokerUrl: broker.url,
    vhost: given ? `warren-demo-${randomBytes(3).toString('hex')}` : 'warren',
    definitions: found && names.every((name) => known.includes(name)) ? found : platformDefinitions(names),
    services: names,
    disposable: !given,
  });
  if (given) undo.push({ what: 'vhost', run: () => loaded.remove() });
  const vhost = operate(() => loaded);
  undo.push({ what: 'connections', run: () => vhost.disconnect() });
  screen.step('broker', broker.description, performance.now() - since);
  return { broker, vhost };
}

/** PostgreSQL, with a database and a role for each service. */
async function startDatabases(services: Service[]) {
  const since = performance.now();
  const server = await startDatabase({
    say: (line) => !line.startsWith('database: ') && screen.step('database', line),
  });
  undo.push({ what: 'databases', run: () => server.stop() });
  const given = Boolean(process.env.DATABASE_URL);
  const urls = new Map<string, string>();
  const made = new Set<string>();
  for (const { name } of services) {
    const database = `warren_${name}`;
    if (await databaseExists(server.url, database)) {
      // Somebody's own: used with the rights that we were given, and left as it is.
      urls.set(name, databaseUrl(server.url, database));
      continue;
    }
    const forget = given
      ? keep({ type: 'database', server: server.url, name: database, role: database })
      : () => {};
    if (given) {
      undo.push({ what: database, run: () => dropDatabase(server.url, database, database).then(forget) });
    }
    const role = { name: database, password: randomBytes(12).toString('hex') };
    urls.set(name, await createDatabase({ server: server.url, name: database, role }));
    made.add(name);
  }
  screen.step('database', server.description, performance.now() - since);
  return {
    server,
    url: (name: string) => urls.get(name) as string,
    /** Shows the transactions of a database that is the demo's own. */
    async watch(name: string, listener: (changes: Change[], at: number) => void) {
      if (!made.has(name)) return undefined;
      return watchTransactions(databaseUrl(server.url, `warren_${name}`), listener);
    },
  };
}

function addresses(
  services: Service[],
  userId: string,
  { broker, vhost }: Awaited<ReturnType<typeof startPlatform>>,
  { server }: Awaited<ReturnType<typeof startDatabases>>,
  scratch: string,
): void {
  const { username, password } = new URL(broker.url);
  screen.title('Try it');
  screen.line("  curl -i localhost:3001/users/save -H 'content-type: application/json' \\");
  screen.line(`       -d '{"name":"Grace Hopper","email":"grace@example.com"}'`);
  screen.line(`  curl 'localhost:3002/sessions?userId=${userId}'`);
  for (const { name, adminPort } of services) {
    screen.line(
      `  ${name.padEnd(10)}http://localhost:${adminPort}/metrics  http://localhost:${adminPort}/readyz`,
    );
  }
  screen.line(`  ${'broker'.padEnd(10)}${broker.managementUrl}/#/queues?vhost=${vhost.vhost}`);
  screen.line(screen.faint(`  ${''.padEnd(10)}user ${username}, password ${password}`));
  screen.line(`  ${'database'.padEnd(10)}${databaseUrl(server.url, 'warren_user')}`);
  screen.line(`  ${'logs'.padEnd(10)}${scratch}/*.log`);
  screen.line();
  screen.line(screen.bold('Events are shown as they happen. Ctrl-C stops all of it.'));
}

const shown = { second: 0, lines: 0 };

/** After the tour: a line a fact, but no more of them in a second than can be read. */
function live(who: string, what: string): void {
  const second = Math.floor(performance.now() / 1000);
  if (second !== shown.second) {
    if (shown.lines > 20) screen.step('…', `and ${shown.lines - 20} more`);
    shown.second = second;
    shown.lines = 0;
  }
  shown.lines += 1;
  if (shown.lines <= 20) screen.step(who, what, performance.now() - begun);
}

/** Undoes all that was done, the last first, and ends the process. */
function end(code: number): Promise<never> {
  ending ??= (async () => {
    const since = performance.now();
    screen.line();
    screen.line(screen.faint('Stopping …'));
    // The services together: each has its own grace period.
    const names = new Set(findServices().map(({ name }) => name));
    const steps = undo.splice(0).reverse();
    const stop = async ({ what, run }: (typeof steps)[number]) => {
      try {
        await run();
      } catch (error) {
        screen.fault(`${what} could not be removed: ${sentenceOf(error)}`);
      }
    };
    await Promise.all(steps.filter(({ what }) => names.has(what)).map(stop));
    for (const step of steps.filter(({ what }) => !names.has(what))) await stop(step);
    // What was only just being started.
    await removeKept();
    screen.line(
      screen.faint(
        `Stopped in ${((performance.now() - since) / 1000).toFixed(1)} s; nothing is left running.`,
      ),
    );
    process.exit(code);
  })();
  return ending;
}

function sentenceOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
