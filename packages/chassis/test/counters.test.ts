import { withDatabase } from '@warren/testkit';
import { expect } from 'chai';
import { Registry } from 'prom-client';
import { openDatabase } from '../src/database/database.ts';
import { type CounterDefinition, createCounters } from '../src/telemetry/counters.ts';
import { createUnitsOfWork } from '../src/units-of-work.ts';
import { silent } from './fixtures/relay.ts';

const turns: CounterDefinition<{ hand: 'left' | 'right'; speed: 'slow' | 'fast' }> = {
  name: 'turns_total',
  help: 'Turns.',
  labels: { hand: ['left', 'right'], speed: ['slow', 'fast'] },
};

describe("a service's own counter", () => {
  const database = withDatabase();
  const open = () => {
    const registry = new Registry();
    const writer = openDatabase({ url: database.url, connections: 1, name: 'counters', log: silent });
    const units = createUnitsOfWork({
      service: 'alpha',
      database: writer,
      config: {},
      now: () => new Date(),
      publications: new Set<string>(),
      counters: createCounters(registry, [turns]),
      onCommit: () => {},
    });
    return { registry, units, close: () => writer.close() };
  };
  const origin = { correlationId: 'test', log: silent };

  it('is there with every combination of its labels before anything was counted', async () => {
    const registry = new Registry();
    createCounters(registry, [turns]);
    const lines = (await registry.metrics()).split('\n').filter((line) => line.startsWith('turns_total{'));
    expect(lines).to.have.members([
      'turns_total{hand="left",speed="slow"} 0',
      'turns_total{hand="left",speed="fast"} 0',
      'turns_total{hand="right",speed="slow"} 0',
      'turns_total{hand="right",speed="fast"} 0',
    ]);
  });

  it('counts what was committed, and nothing that was rolled back', async () => {
    const { registry, units, close } = open();
    try {
      await units.run(origin, async (work) => work.count(turns, { hand: 'left', speed: 'fast' }));
      const failure = await units
        .run(origin, async (work) => {
          work.count(turns, { hand: 'right', speed: 'fast' });
          throw new Error('rolled back');
        })
        .catch((error: Error) => error.message);
      expect(failure).to.equal('rolled back');
      const text = await registry.metrics();
      expect(text).to.contain('turns_total{hand="left",speed="fast"} 1');
      expect(text).to.contain('turns_total{hand="right",speed="fast"} 0');
    } finally {
      await close();
    }
  });

  it('that the service does not list is refused by name, and rolls the transaction back', async () => {
    const { units, close } = open();
    try {
      const failure = await units
        .run(origin, async (work) =>
          work.count({ ...turns, name: 'other_total' }, { hand: 'left', speed: 'slow' }),
        )
        .catch((error) => error);
      expect(failure).to.include({ code: 'invalid_service' });
      expect(failure.message).to.contain('other_total');
    } finally {
      await close();
    }
  });
});
