// Signs people up, at a steady rate, from inside the cluster. Runs in a pod, from a ConfigMap, on nothing but Node.js.
//   URL       of the gateway
//   PREFIX    of every e-mail address and idempotency key
//   RATE      sign-ups begun a second, whether or not those before are answered
//   PATIENCE  ms in which a request that failed is repeated under its key; 0: never
//   ORDERS    `true`: everybody places an order as well, one in ten above the limit of a payment, and gets their overview
// SIGUSR2 ends it: what has begun is waited for, then there is a line of JSON for each sign-up, and one with `ended`.
import { randomUUID } from 'node:crypto';

const { URL: url, PREFIX: prefix, ORDERS: orders } = process.env;
const rate = Number(process.env.RATE);
const patience = Number(process.env.PATIENCE);
/** ms in which a sign-up has to reach the service that takes orders */
const SIGN_UP_KNOWN = 60_000;
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

let ending = false;
process.on('SIGUSR2', () => {
  ending = true;
});

const signUps = [];
const began = performance.now();
for (let n = 0; !ending; n += 1) {
  const due = began + (n * 1_000) / rate;
  while (!ending && performance.now() < due) await wait(Math.min(50, due - performance.now()));
  if (ending) break;
  signUps.push(signUp(n));
  if (n === 0) console.log(JSON.stringify({ began: true }));
}
const seconds = (performance.now() - began) / 1_000;
const lines = [...(await Promise.all(signUps)), { ended: true, seconds }].map((line) => JSON.stringify(line));
// A connection that is kept alive would keep the process.
process.stdout.write(`${lines.join('\n')}\n`, () => process.exit(0));

async function signUp(n) {
  const begun = performance.now();
  const failures = [];
  const person = { name: `Person ${n}`, email: `${prefix}-${n}@example.com` };
  const user = await repeat(failures, () => send('POST', '/users/save', 201, person, `${prefix}-${n}`));
  const signedUp = { n, id: user?.id, ms: Math.round(performance.now() - begun), failures };
  if (orders !== 'true' || user === undefined) return signedUp;

  const order = { id: randomUUID(), price: n % 10 === 0 ? 1_000.01 : 9.99 };
  const wanted = { orderId: order.id, userId: user.id, productName: `Thing ${n}`, price: order.price };
  const placed = await repeat(failures, () => placeOrder(wanted, `${prefix}-${n}-order`));
  const overview = await repeat(failures, () => send('GET', `/overview/${user.id}`, 200));
  return { ...signedUp, order: placed && order, missing: overview?.missing };
}

/** What `attempt` gives, or nothing when it failed for as long as anybody has patience. */
async function repeat(failures, attempt) {
  const begun = performance.now();
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      const reason = error.cause?.code ?? error.cause?.message ?? error.message;
      failures.push(`${new Date().toISOString()} ${error.name}: ${reason}`);
      if (performance.now() - begun > patience) return;
      await wait(250);
    }
  }
}

/** `user_unknown` is not a failure: the sign-up is seconds old. The retry does not delay other requests. */
async function placeOrder(order, key) {
  const begun = performance.now();
  for (let delay = 1_000; ; delay *= 2) {
    await wait(delay);
    try {
      return await send('POST', '/orders', 201, order, key);
    } catch (error) {
      if (error.code !== 'user_unknown' || performance.now() - begun > SIGN_UP_KNOWN) throw error;
    }
  }
}

async function send(method, path, expected, body, key) {
  const response = await fetch(`${url}${path}`, {
    method,
    headers: {
      ...(key && { 'content-type': 'application/json', 'idempotency-key': key }),
      // Connections that are kept alive would all lead to the gateway's first pod.
      ...(orders === 'true' && { connection: 'close' }),
    },
    body: body && JSON.stringify(body),
    signal: AbortSignal.timeout(20_000),
  });
  const answer = await response.json();
  if (response.status === expected) return answer;
  const { code, title = '' } = answer;
  throw Object.assign(new Error(`${method} ${path}: ${response.status} ${code ?? title}`), { code });
}
