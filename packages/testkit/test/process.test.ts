import { expect } from 'chai';
import { freePort, isTaken, type RunningProcess, startProcess } from '../src/index.ts';

describe('startProcess', () => {
  const started: RunningProcess[] = [];
  const start = (env: Record<string, string | number>) => {
    const running = startProcess({ cwd: import.meta.dirname, entry: 'fixtures/service.ts', env });
    started.push(running);
    return running;
  };

  afterEach(() => Promise.all(started.splice(0).map((running) => running.kill('SIGKILL'))));

  it('waits for a service to be ready, and for its end', async () => {
    const port = await freePort();
    const running = start({ ADMIN_PORT: port });

    await running.ready();
    expect(await isTaken(port)).to.equal(true);
    expect(running.exitCode).to.equal(undefined);

    expect(await running.kill()).to.equal(0);
    expect(await isTaken(port)).to.equal(false);
    expect(running.exitCode).to.equal(0);
  });

  it("keeps what it logs, and hands it nothing of the test's own settings", async () => {
    process.env.WARREN_SECRET_SETTING = 'x';
    const running = start({ ADMIN_PORT: await freePort() });

    await running.ready();
    delete process.env.WARREN_SECRET_SETTING;

    expect(running.logs[0]).to.include({ msg: 'listening' });
    expect(running.logs[0].env).to.include('ADMIN_PORT').and.not.to.include('WARREN_SECRET_SETTING');
  });

  it('says null for a service that a signal ended', async () => {
    const running = start({ ADMIN_PORT: await freePort(), STUBBORN: 1 });
    await running.ready();

    running.signal('SIGTERM');

    expect(await running.kill('SIGKILL')).to.equal(null);
  });

  it('gives the last words of a service that ends before it is ready', async () => {
    const running = start({ ADMIN_PORT: await freePort(), FAIL: 1 });

    const error = await running.ready().catch((failure: Error) => failure);

    expect(error).to.be.an('error').with.property('message').that.includes('FAIL is set');
    expect(running.exitCode).to.equal(3);
  });
});
