// What a token costs: CPU of a service a request, with AUTH=off and with AUTH=jwt and tokens that are known, in turns.
//   node bench/auth.ts            prints medians; RATE=200 SECONDS=10 ROUNDS=5
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { startIssuer } from '@warren/testkit';
import { own } from '../src/auth/access.ts';
import { defineService, get, Joi, start } from '../src/index.ts';

const USERS = 50;
const RATE = Number(process.env.RATE ?? 200);
const SECONDS = Number(process.env.SECONDS ?? 10);
const ROUNDS = Number(process.env.ROUNDS ?? 5);

/** The least that a route of a service does: everything but the token is the same in both. */
async function serve(): Promise<void> {
  const service = defineService({
    name: 'bench',
    version: '1.0.0',
    routes: [
      get(
        '/things',
        { access: own(({ query }) => query.userId), query: { userId: Joi.string().required() } },
        async ({ query }) => ({ items: [{ id: 1, userId: query.userId }] }),
      ),
    ],
  });
  const running = await start(service);
  process.on('message', () => process.send?.(process.cpuUsage()));
  process.send?.(running.url);
}

async function measure(env: Record<string, string>, tokens: readonly string[]): Promise<number> {
  const child = fork(fileURLToPath(import.meta.url), ['serve'], {
    env: { ...process.env, ...env, PORT: '0', ADMIN_PORT: '0' },
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const [url] = await once(child, 'message');
  const cpu = async () => {
    child.send('cpu');
    const [usage] = (await once(child, 'message')) as [NodeJS.CpuUsage];
    return usage.user + usage.system;
  };
  const ask = async (number: number) => {
    const user = number % USERS;
    const headers = { authorization: `Bearer ${tokens[user]}` };
    const response = await fetch(`${url}/things?userId=user-${user}`, { headers });
    if (response.status !== 200) throw new Error(`answered ${response.status}`);
    await response.arrayBuffer();
  };
  const load = async (count: number) => {
    const began = performance.now();
    const sent: Promise<void>[] = [];
    while (sent.length < count) {
      const due = Math.min(count, Math.floor(((performance.now() - began) / 1_000) * RATE));
      while (sent.length < due) sent.push(ask(sent.length));
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    await Promise.all(sent);
  };
  await load(RATE * 5); // compiled, and every token known
  const before = await cpu();
  await load(RATE * SECONDS);
  const used = (await cpu()) - before;
  child.kill();
  await once(child, 'exit');
  return used / (RATE * SECONDS);
}

const median = (values: number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] as number;

if (process.argv[2] === 'serve') await serve();
else {
  const issuer = await startIssuer();
  const tokens = await Promise.all(
    Array.from({ length: USERS }, (_, user) => issuer.token({ sub: `user-${user}` })),
  );
  const results: Record<'off' | 'jwt', number[]> = { off: [], jwt: [] };
  for (let round = 0; round < ROUNDS; round += 1)
    for (const mode of round % 2 === 0 ? (['off', 'jwt'] as const) : (['jwt', 'off'] as const))
      results[mode].push(await measure(mode === 'off' ? { AUTH: 'off' } : issuer.env, tokens));
  const [off, jwt] = [median(results.off), median(results.jwt)];
  const ratio = median(results.jwt.map((each, round) => each / (results.off[round] as number)));
  console.log(
    `CPU a request at ${RATE}/s: ${off.toFixed(0)} µs with AUTH=off, ${jwt.toFixed(0)} µs with AUTH=jwt`,
  );
  console.log(`median of ${ROUNDS} ratios: ${((ratio - 1) * 100).toFixed(1)} % more`);
  await issuer.close();
}
