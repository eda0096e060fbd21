// Starts all of Warren on this machine (broker, databases, services), then shows a tour hop by hop. It runs until Ctrl-C, shows
// events and changes, and stops parts of itself at the press of a key. ONCE=1 exits after the tour, with code 0 or 1. AMQP_URL and
// DATABASE_URL name servers to use instead of new ones. AUTH=jwt also starts a token issuer, and every request needs a token.
// EXAMPLES=python-consumer starts examples beside the services.
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import {
  adminClient,
  type Change,
  createDatabase,
  databaseExists,
  databaseUrl,
  dropDatabase,
  findDefinitions,
  loadDefinitions,
  managementOf,
  platformDefinitions,
  registerCleanup,
  runCleanups,
  startBroker,
  startDatabase,
  watchTransactions,
} from '../packages/testkit/src/index.ts';
import { foreignDefinitions, merged } from './asyncapi/foreign.ts';
import { type Key, listenForKeys } from './demo/keys.ts';
import { inOrder } from './demo/order.ts';
import { createScreen } from './demo/screen.ts';
import {
  findExamples,
  findServices,
  type Running,
  type Service,
  startService,
  takenPort,
} from './demo/services.ts';
import { ISSUER_PORT, startTokens, type Tokens } from './demo/tokens.ts';
import { describe, type Tour, tour } from './demo/tour.ts';
import { root } from './tree.ts';

const once = process.env.ONCE === '1';
const begun = performance.now();
const screen = createScreen();
const undo: { what: string; run(): Promise<unknown> | unknown }[] = [];
let ending: Promise<never> | undefined;

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, interrupt);

function interrupt(): void {
  // A second signal exits at once; the testkit's cleanup process removes what is left.
  if (ending) process.exit(130);
  screen.line();
  void end(toured && !once ? 0 : 130);
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
  const services = [...findServices(), ...findExamples(process.env.EXAMPLES?.match(/[^\s,]+/g) ?? [])];
  const wantsTokens = process.env.AUTH === 'jwt';
  const taken = await takenPort(services, wantsTokens ? ISSUER_PORT : undefined);
  if (taken) {
    screen.fault(taken);
    process.exit(1);
  }

  screen.title('Warren: starting');
  const scratch = mkdtempSync(join(tmpdir(), 'warren-demo-'));
  const forget = registerCleanup({ type: 'directory', path: scratch });
  undo.push({
    what: 'logs',
    run() {
      rmSync(scratch, { recursive: true, force: true });
      forget();
    },
  });

  const [platform, databases] = await Promise.all([startPlatform(services), startDatabases(services)]);
  const { vhost } = platform;
  const port = (name: string) => services.find((service) => service.name === name) as Service;
  const tokens = wantsTokens ? await startTokens(`http://localhost:${port('gateway').port}`) : undefined;
  if (tokens === undefined) screen.step('you', 'requests need no token: AUTH=off');
  else {
    undo.push({ what: 'issuer', run: () => tokens.close() });
    screen.step('issuer', `${tokens.url} issues tokens (AUTH=jwt)`);
  }
  const environment = (name: string): Record<string, string> => {
    const database = databases.url(name);
    // A reader who tries how fast it is should not meet the rate limit.
    return {
      AMQP_URL: vhost.url(name),
      RATE_LIMIT: 'off',
      ...(database && { DATABASE_URL: database }),
      ...tokens?.env,
    };
  };

  const running: Running[] = await Promise.all(
    services.map(async (service) => {
      const { name } = service;
      const since = performance.now();
      const started = await startService(service, {
        env: environment(name),
        log: join(scratch, `${name}.log`),
        onDeath: (how) => live(name, `${how}; restarting`),
        onReturn: () => live(name, 'ready again'),
        onWarning: (message) => live(name, message),
      });
      undo.push({ what: name, run: () => started.stop() });
      screen.step(
        name,
        `http://localhost:${service.port ?? service.adminPort}, ready`,
        performance.now() - since,
      );
      return started;
    }),
  );

  const listeners = new Set<(service: string, changes: Change[], at: number) => void>();
  for (const { name } of services.filter(({ hasDatabase }) => hasDatabase)) {
    await keepOpen(() =>
      databases.watch(name, (changes, at) => {
        for (const listener of listeners) listener(name, changes, at);
      }),
    );
  }
  const probe = await vhost.probe('events', '#');

  screen.title('One sign-up: a session, a welcome order, its payment, and e-mails');
  const ended = await tour({
    screen,
    tokens,
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
      `From the POST to the last e-mail: ${Math.round(ended.elapsed)} ms. Total time of the demo: ${total} s.`,
    ),
  );
  if (once) await end(0);

  addresses(services, { ...ended, tokens }, platform, databases, scratch);
  breakable(running, { ...ended, tokens }, platform, databases);
  listeners.add((service, changes, at) => {
    const what = describe(changes, { confirmations: false });
    if (what) live(service, what, at - performance.timeOrigin);
  });
  await probe.close();
  await keepOpen(async () => {
    const opened = await vhost.probe('events', '#');
    opened.onEvent((event) => live('exchange', `${event.routingKey} from ${event.properties.appId}`));
    return opened;
  });
  // Stays up: the connections keep the process alive.
  setInterval(() => {}, 60_000);
}

/** Opens a view of events or changes, and reopens it whenever its server was restarted. */
async function keepOpen(
  open: () => Promise<{ ended: Promise<void>; close(): Promise<void> } | undefined>,
): Promise<void> {
  const view = await open();
  if (!view) return;
  const closing = { what: 'view', run: view.close };
  undo.push(closing);
  void view.ended.then(async () => {
    const place = undo.indexOf(closing);
    if (place >= 0) undo.splice(place, 1);
    while (!ending) {
      await wait(500);
      if (
        await keepOpen(open).then(
          () => true,
          () => false,
        )
      )
        return;
    }
  });
}

/** Lists the keys that stop or start something, and handles them. */
function breakable(
  running: Running[],
  { userId, email, tokens }: Shown,
  { broker }: Platform,
  { server }: Databases,
): void {
  const taken = new Set(['b', 'd', 'n', 'x']);
  const keys: Key[] = running.map((service) => {
    const key = [...service.name].find((letter) => !taken.has(letter)) ?? '';
    taken.add(key);
    return {
      key,
      does: `SIGKILL the ${service.name} service; it restarts`,
      press: () => service.kill(),
    };
  });
  for (const [key, what, own, until] of [
    ['b', 'broker', broker, 'sign-ups succeed, events wait'],
    ['d', 'database', server, 'requests fail with 503'],
  ] as const) {
    if (!('kill' in own)) continue;
    let busy = false;
    const toggle = async () => {
      if (busy) return;
      busy = true;
      live(what, own.running ? 'killing' : 'starting');
      await (own.running ? own.kill() : own.start());
      live(what, own.running ? 'running again' : `stopped; press ${key} to restart it. Until then ${until}`);
      busy = false;
    };
    keys.push({
      key,
      does: `SIGKILL the ${what}; press again to restart it`,
      press: () => void toggle().catch((error) => screen.fault(sentenceOf(error))),
    });
  }
  const guest = () => ({ name: 'A Guest', email: `guest.${randomBytes(3).toString('hex')}@example.com` });
  keys.push(
    { key: 'n', does: 'sign up a new user', press: () => void send('/users/save', guest()) },
    {
      key: 'x',
      does: 'place an order that exceeds the payment limit',
      press: () =>
        void send('/orders', { userId, productName: 'A small island', price: 9_999_999.99 }, () =>
          tokens?.headers(email),
        ),
    },
  );

  if (listenForKeys(keys, interrupt)) {
    screen.title('Break it');
    for (const { key, does } of keys) screen.line(`  ${screen.bold(key)}  ${does}`);
  }
  screen.line();
  screen.line(screen.bold('Events and changes are shown here. Press Ctrl-C to stop everything.'));
}

/** Sends a request to the gateway, and shows the response. */
async function send(
  path: string,
  body: object,
  credentials: () => Promise<Record<string, string>> | undefined = () => undefined,
): Promise<void> {
  const what = `POST ${path} ${Object.values(body).at(-1)}`;
  try {
    const since = performance.now();
    const response = await fetch(`http://localhost:3000${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(await credentials()) },
      body: JSON.stringify(body),
    });
    await response.text();
    live('you', `${what}: ${response.status} in ${Math.round(performance.now() - since)} ms`);
  } catch (error) {
    live('you', `${what} failed: ${sentenceOf(error)}`);
  }
}

/** The broker, with the platform's exchanges and a user for each service. */
async function startPlatform(services: Service[]) {
  const since = performance.now();
  const names = services.map(({ name }) => name);
  const broker = await startBroker({
    log: (line) => !line.startsWith('broker: ') && screen.step('broker', line),
  });
  undo.push({ what: 'broker', run: () => broker.stop() });
  const given = Boolean(process.env.AMQP_URL);
  const foreign = services.flatMap(({ asyncapi }) =>
    asyncapi === undefined ? [] : [foreignDefinitions(JSON.parse(readFileSync(asyncapi, 'utf8')))],
  );
  const found = merged([findDefinitions(root) ?? {}, ...foreign]);
  const known = found.users?.map(({ name }) => name) ?? [];
  const loaded = await loadDefinitions({
    management: managementOf(broker),
    brokerUrl: broker.url,
    vhost: given ? `warren-demo-${randomBytes(3).toString('hex')}` : 'warren',
    definitions: names.every((name) => known.includes(name)) ? found : platformDefinitions(names),
    services: names,
    disposable: !given,
  });
  if (given) undo.push({ what: 'vhost', run: () => loaded.remove() });
  const vhost = adminClient(() => loaded);
  undo.push({ what: 'connections', run: () => vhost.disconnect() });
  screen.step('broker', broker.description, performance.now() - since);
  return { broker, vhost };
}

/** PostgreSQL, with a database and a role for each service. */
async function startDatabases(services: Service[]) {
  const since = performance.now();
  const server = await startDatabase({
    log: (line) => !line.startsWith('database: ') && screen.step('database', line),
  });
  undo.push({ what: 'databases', run: () => server.stop() });
  const given = Boolean(process.env.DATABASE_URL);
  const urls = new Map<string, string>();
  const made = new Set<string>();
  for (const { name } of services.filter(({ hasDatabase }) => hasDatabase)) {
    const database = `warren_${name}`;
    if (await databaseExists(server.url, database)) {
      // A server of the user: used with the given rights, and left as it is.
      urls.set(name, databaseUrl(server.url, database));
      continue;
    }
    const forget = given
      ? registerCleanup({ type: 'database', server: server.url, name: database, role: database })
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
    url: (name: string) => urls.get(name),
    /** Shows the transactions of a database that is the demo's own. */
    async watch(name: string, listener: (changes: Change[], at: number) => void) {
      if (!made.has(name)) return undefined;
      return watchTransactions(databaseUrl(server.url, `warren_${name}`), listener);
    },
  };
}

type Shown = Tour & { tokens: Tokens | undefined };
type Platform = Awaited<ReturnType<typeof startPlatform>>;
type Databases = Awaited<ReturnType<typeof startDatabases>>;

function addresses(
  services: Service[],
  { userId, orderId, email, tokens }: Shown,
  { broker, vhost }: Platform,
  { server }: Databases,
  scratch: string,
): void {
  const { username, password } = new URL(broker.url);
  screen.title('Try it');
  const json = "-H 'content-type: application/json'";
  const bearer = tokens === undefined ? '' : ' -H "authorization: Bearer $TOKEN"';
  if (tokens !== undefined) {
    screen.line(`  TOKEN=$(curl -s ${tokens.url}/token -d grant_type=password -d client_id=warren \\`);
    screen.line(
      `    -d username=${email} -d password=${tokens.password} | sed 's/.*"access_token":"\\([^"]*\\).*/\\1/')`,
    );
    screen.line(
      screen.faint('  the operator may read everything and has the same password: username=operator'),
    );
  }
  screen.line(`  curl -i localhost:3000/users/save ${json} \\`);
  screen.line(`       -d '{"name":"Grace Hopper","email":"grace@example.com"}'`);
  screen.line(`  curl -i localhost:3000/orders ${json}${bearer} \\`);
  screen.line(`       -d '{"userId":"${userId}","productName":"Tea","price":3.5}'`);
  screen.line(`  curl localhost:3000/overview/${userId}${bearer}`);
  screen.line(`  curl localhost:3000/orders/${orderId}${bearer}`);
  screen.line('  http://localhost:3000/docs');
  for (const { name, adminPort } of services) {
    screen.line(
      `  ${name.padEnd(10)}http://localhost:${adminPort}/metrics  http://localhost:${adminPort}/readyz`,
    );
  }
  screen.line(`  ${'broker'.padEnd(10)}${broker.managementUrl}/#/queues?vhost=${vhost.vhost}`);
  screen.line(screen.faint(`  ${''.padEnd(10)}user ${username}, password ${password}`));
  screen.line(`  ${'database'.padEnd(10)}${databaseUrl(server.url, 'warren_user')}`);
  screen.line(`  ${'logs'.padEnd(10)}${scratch}/*.log`);
}

const shown = { second: 0, lines: 0 };
const facts = inOrder<{ who: string; what: string }>(({ at, who, what }) => {
  const second = Math.floor(at / 1000);
  if (second !== shown.second) {
    if (shown.lines > 20) screen.step('…', `and ${shown.lines - 20} more`);
    shown.second = second;
    shown.lines = 0;
  }
  shown.lines += 1;
  if (shown.lines <= 20) screen.step(who, what, at - begun);
});

/** After the tour: a line a fact, but no more of them in a second than can be read. `at` as of performance.now(). */
function live(who: string, what: string, at = performance.now()): void {
  facts.add({ at, who, what });
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
        screen.fault(`cannot remove ${what}: ${sentenceOf(error)}`);
      }
    };
    await Promise.all(steps.filter(({ what }) => names.has(what)).map(stop));
    for (const step of steps.filter(({ what }) => !names.has(what))) await stop(step);
    // What was only just being started.
    await runCleanups();
    screen.line(
      screen.faint(
        `Stopped in ${((performance.now() - since) / 1000).toFixed(1)} s; nothing is still running.`,
      ),
    );
    process.exit(code);
  })();
  return ending;
}

function sentenceOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
