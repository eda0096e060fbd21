import { createServer } from 'node:net';
import { expect } from 'chai';
import { freePort, freePorts, isTaken } from '../src/index.ts';

describe('ports', () => {
  it('are free, and never the same twice', async () => {
    const ports = await freePorts(200);

    expect(new Set(ports).size).to.equal(200);
    expect(await Promise.all(ports.map(isTaken))).to.not.include(true);
  });

  for (const host of ['127.0.0.1', '0.0.0.0', undefined]) {
    it(`are taken when something listens on ${host ?? 'all addresses'}`, async () => {
      const port = await freePort();
      const server = createServer();
      await new Promise<void>((listening) => server.listen(port, host, listening));

      expect(await isTaken(port)).to.equal(true);

      await new Promise((closed) => server.close(closed));
      expect(await isTaken(port)).to.equal(false);
    });
  }
});
