import http from 'node:http';
import { withSystem } from '../../support/src/index.ts';

describe('throughput', () => {
  const system = withSystem();
  it('measures', async function () {
    this.timeout(120_000);
    const user = await system.run('user');
    const session = await system.run('session');
    const port = Number(new URL((user as any).url).port);
    const agent = new http.Agent({ keepAlive: true, maxSockets: 64 });
    const admin = (session as any).adminUrl;
    for (const [N, C] of [[2000, 32], [5000, 32], [5000, 64]] as const) {
      let i = 0, ok = 0; const lat: number[] = [];
      const tag = Math.random().toString(36).slice(2);
      const m = async () => Number(/events_consumed_total\{[^}]*outcome="handled"[^}]*\} (\d+)/.exec(await (await fetch(`${admin}/metrics`)).text())?.[1] ?? 0);
      const base = await m();
      const post = (n: number) => new Promise<void>((res, rej) => { const t = performance.now(); const body = JSON.stringify({ name: 'L', email: `${tag}${n}@example.com` });
        const r = http.request({ port, path: '/users', method: 'POST', agent, headers: { 'content-type': 'application/json', 'content-length': body.length } }, (a) => { a.resume(); a.on('end', () => { lat.push(performance.now() - t); if (a.statusCode === 201) ok++; res(); }); }); r.on('error', rej); r.end(body); });
      const t0 = performance.now();
      await Promise.all(Array.from({ length: C }, async () => { while (i < N) await post(i++); }));
      const t1 = performance.now();
      lat.sort((a, b) => a - b);
      let h = 0; while ((h = (await m()) - base) < N && performance.now() - t0 < 60000) await new Promise((r) => setTimeout(r, 50));
      console.log({ N, C, ok, postsPerSecond: Math.round(N / (t1 - t0) * 1000), p50: lat[N >> 1]!.toFixed(1), p99: lat[Math.floor(N * .99)]!.toFixed(1), handled: h, endToEnd: Math.round(N / (performance.now() - t0) * 1000) });
    }
    for (const r of [user, session]) console.log(await import('node:child_process').then((c) => c.execSync(`grep VmRSS /proc/${(r as any).pid ?? (r as any).process?.pid}/status || true`).toString().trim()));
    await system.end();
  });
});
