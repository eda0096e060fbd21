import { createServer } from 'node:net';
import { freePort } from '@warren/testkit';
import { expect } from 'chai';
import { readSettings } from '../src/settings.ts';
import { Refusal, requirePorts } from '../src/stage.ts';

describe('the settings of a run', () => {
  const names = (env: Record<string, string>) => readSettings(env).systems.map(({ name }) => name);

  it('chooses systems, and the reference where the product is compared', () => {
    expect(names({ SYSTEMS: 'nest,warren' })).to.deep.equal(['nest', 'warren', 'warren-product']);
    expect(names({ ONLY: 'product', SYSTEMS: 'nest,warren' })).to.deep.equal(['nest', 'warren-product']);
    expect(names({ ONLY: 'same-work', SYSTEMS: 'by-hand' })).to.deep.equal(['by-hand']);
  });

  it('counts a run with something left out as incomplete', () => {
    expect(readSettings({}).isComplete).to.equal(true);
    expect(readSettings({ QUICK: '1' }).isComplete).to.equal(false);
    expect(readSettings({ N: '10' }).isComplete).to.equal(false);
  });

  it('refuses what it does not know, in a sentence', () => {
    expect(() => readSettings({ SYSTEMS: 'rails' })).to.throw(
      Refusal,
      /SYSTEMS names rails: there are nest,/,
    );
    expect(() => readSettings({ N: 'many' })).to.throw(Refusal, 'N must be a whole number from 1, not many.');
    expect(() => readSettings({ BASE: '/nowhere' })).to.throw(Refusal, /BASE must be a checkout/);
  });

  it('refuses to start where something listens on its ports', async () => {
    const port = await freePort();
    await requirePorts([port]);
    const server = createServer().listen(port, '127.0.0.1');
    try {
      const refusal = await requirePorts([port]).catch((error) => error);
      expect(refusal).to.be.instanceOf(Refusal);
      expect(refusal.message).to.contain(`Something listens on port ${port}`);
    } finally {
      server.close();
    }
  });
});
