// Signs people up, at a steady rate, from inside the cluster. Runs in a pod, from a ConfigMap, on nothing but Node.js.
//   URL       where; PATH of a sign-up below
//   PREFIX    of every e-mail address and idempotency key
//   RATE      sign-ups begun a second, whether or not those before are answered
//   PATIENCE  ms in which a sign-up that failed is repeated under its key; 0: never
// SIGUSR2 ends it: what has begun is waited for, then there is a line of JSON for each sign-up, and one with `ended`.
const { URL: url, PREFIX: prefix } = process.env;
const rate = Number(process.env.RATE);
const patience = Number(process.env.PATIENCE);
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
  for (;;) {
    const failure = await attempt(n).then(
      (answer) => {
        if (answer.status === 201) return { id: answer.body.id };
        return `${answer.status} ${answer.body.code ?? answer.body.title ?? ''}`;
      },
      (error) => `${error.name}: ${error.cause?.code ?? error.cause?.message ?? error.message}`,
    );
    const ms = Math.round(performance.now() - begun);
    if (typeof failure === 'object') return { n, ...failure, ms, failures };
    failures.push(`${new Date().toISOString()} ${failure}`);
    if (ms > patience) return { n, ms, failures };
    await wait(250);
  }
}

async function attempt(n) {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'idempotency-key': `${prefix}-${n}` },
    body: JSON.stringify({ name: `Person ${n}`, email: `${prefix}-${n}@example.com` }),
    signal: AbortSignal.timeout(20_000),
  });
  return { status: response.status, body: await response.json() };
}
