import { spawn } from 'node:child_process';
import { withBroker, withDatabase } from '@warren/testkit';
import { expect } from 'chai';
import { checkout } from '../../../scripts/copy.ts';

describe('make demo', function () {
  this.timeout(150_000);
  const broker = withBroker({ services: [] });
  const database = withDatabase();

  const run = (env: Record<string, string> = {}) => {
    const server = new URL(database.adminUrl);
    server.pathname = '/postgres';
    return demo({
      AMQP_URL: broker.adminUrl.replace(/\/[^/]*$/, ''),
      AMQP_MANAGEMENT_URL: broker.managementUrl,
      DATABASE_URL: server.href,
      ...env,
    });
  };

  it('shows its whole tour, ends with 0, and leaves no database behind', async () => {
    const { code, output } = await run();
    expect(output).to.contain('An order that exceeds the payment limit');
    expect(output).to.match(/200 OK: Ada Lovelace; sessions active; .*nothing missing/s);
    expect(code, output).to.equal(0);
    expect(
      await database.admin(
        "select datname from pg_database where datname in ('warren_user', 'warren_order')",
      ),
    ).to.deep.equal([]);
  });

  it('asks for tokens with AUTH=jwt, and has an issuer of them', async () => {
    const { code, output } = await run({ AUTH: 'jwt' });
    expect(output).to.contain('POST http://localhost:4000/sign-up');
    expect(output).to.match(/200 OK: Ada Lovelace; sessions active; .*nothing missing/s);
    expect(code, output).to.equal(0);
  });
});

async function demo(env: Record<string, string>): Promise<{ code: number | null; output: string }> {
  const child = spawn(process.execPath, ['scripts/demo.ts'], {
    cwd: checkout,
    env: { ...process.env, ...env, ONCE: '1' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text) => {
      output += text;
    });
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  // Long lines are wrapped, with spaces in front.
  return { code, output: output.replace(/\n {20}/g, ' ') };
}
