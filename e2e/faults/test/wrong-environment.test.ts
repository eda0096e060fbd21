import { spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { freePorts, withDatabase } from '@warren/testkit';
import { expect } from 'chai';
import { checkout, type Name } from '../../support/src/index.ts';

const URLS = { AMQP_URL: 'amqp://127.0.0.1:1', DATABASE_URL: 'postgres://u:p@127.0.0.1:1/x' };

/** What Kubernetes tells every container about the services beside it. */
const LINKS = Object.fromEntries(
  ['USER', 'SESSION', 'ADMIN', 'RABBITMQ', 'POSTGRESQL', 'KUBERNETES'].flatMap((name) => [
    [`${name}_PORT`, 'tcp://10.0.0.1:80'],
    [`${name}_PORT_80_TCP`, 'tcp://10.0.0.1:80'],
    [`${name}_PORT_80_TCP_ADDR`, '10.0.0.1'],
    [`${name}_PORT_80_TCP_PORT`, '80'],
    [`${name}_PORT_80_TCP_PROTO`, 'tcp'],
    [`${name}_SERVICE_HOST`, '10.0.0.1'],
    [`${name}_SERVICE_PORT`, '80'],
    [`${name}_SERVICE_PORT_HTTP`, '80'],
  ]),
);

/** Runs a service until it ends; at most 20 s. */
function run(
  service: Name,
  env: Record<string, string>,
): Promise<{ code: number | null; out: string; err: string[] }> {
  const child = spawn(process.execPath, ['src/main.ts'], {
    cwd: join(checkout, 'services', service),
    env: { PATH: process.env.PATH, HOME: process.env.HOME, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 20_000,
    killSignal: 'SIGKILL',
  });
  let out = '';
  let err = '';
  child.stdout.on('data', (chunk) => (out += chunk));
  child.stderr.on('data', (chunk) => (err += chunk));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, out, err: err.split('\n').filter(Boolean) }));
  });
}

for (const service of ['user', 'session'] as const) {
  describe(`${service} in a wrong environment`, () => {
    const database = withDatabase();
    const headline = `${service} cannot start with this environment:`;

    it('names every missing variable, one per line', async () => {
      const { code, out, err } = await run(service, {});
      expect(err[0]).to.equal(headline);
      expect(err.slice(1).sort()).to.deep.equal([
        '  AMQP_URL: is required, e.g. amqp://user:password@host:5672',
        '  DATABASE_URL: is required, e.g. postgres://user:password@host:5432/database',
      ]);
      expect(code).to.equal(1);
      expect(out).to.equal('');
    });

    it("names every mistake at once, and nothing else, among Kubernetes' service links", async () => {
      const { code, out, err } = await run(service, {
        ...LINKS,
        AMQP_URL: 'https://broker',
        PORT: '99999',
        SHUTDWN_GRACE: '10',
        LOG_LEVEL: 'chatty',
        RETRY_DELAYS: '1s,1s',
      });
      expect(err[0]).to.equal(headline);
      expect(
        err
          .slice(1)
          .map((line) => line.split(':')[0]?.trim())
          .sort(),
      ).to.deep.equal(['AMQP_URL', 'DATABASE_URL', 'LOG_LEVEL', 'PORT', 'RETRY_DELAYS', 'SHUTDWN_GRACE']);
      expect(err).to.include('  PORT: must be a port, 1 to 65535, got "99999"');
      expect(err).to.include('  SHUTDWN_GRACE: did you mean SHUTDOWN_GRACE?');
      expect(code).to.equal(1);
      expect(out).to.equal('');
    });

    it('suggests the right name for a misspelled variable', async () => {
      const [wrong, right] =
        service === 'session' ? ['SESION_TTL', 'SESSION_TTL'] : ['DATABSE_URL', 'DATABASE_URL'];
      const { [right]: _, ...urls } = URLS as Record<string, string>;
      const { code, err } = await run(service, { ...LINKS, ...urls, [wrong]: '1h' });
      expect(err).to.deep.equal([headline, `  ${wrong}: did you mean ${right}?`]);
      expect(code).to.equal(1);
    });

    it('never logs a secret', async () => {
      const { err, out } = await run(service, { ...URLS, AMQP_URL: 'ampq://me:hunter2@host', PORT: 'x' });
      expect(err).to.have.length(3);
      expect(err.join() + out).not.to.contain('hunter2');
    });

    for (const variable of ['PORT', 'ADMIN_PORT']) {
      it(`reports in one sentence that the port of ${variable} is in use`, async () => {
        const holder = createServer().listen(0);
        await new Promise((listening) => holder.once('listening', listening));
        const { port } = holder.address() as { port: number };
        const [free] = await freePorts(1);
        const other = variable === 'PORT' ? 'ADMIN_PORT' : 'PORT';
        try {
          const urls = { ...URLS, DATABASE_URL: database.url };
          const env = { ...urls, [variable]: String(port), [other]: String(free), LOG_LEVEL: 'fatal' };
          const { code, out, err } = await run(service, env);
          expect(err).to.deep.equal([
            `${service} cannot start: Port ${port} is in use: stop the process that listens on it, or choose another port.`,
          ]);
          expect(code).to.equal(1);
          expect(out).to.equal('');
        } finally {
          await new Promise((closed) => holder.close(closed));
        }
      });
    }
  });
}
