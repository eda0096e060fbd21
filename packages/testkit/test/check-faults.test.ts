import { expect } from 'chai';
import type { CheckReport } from '../src/check/options.ts';
import { withDatabase } from '../src/postgres/with-database.ts';
import { withBroker } from '../src/rabbitmq/with-broker.ts';
import { checkForeign, SERVICES } from './fixtures/foreign/check.ts';
import { FAULTS, type Fault, type FaultName } from './fixtures/foreign/faults.ts';

/** A check waits most of the time. */
const AT_ONCE = 3;

describe('the contract kit, on a service with a fault', function () {
  this.timeout(600_000);

  const places = Object.entries<Fault>(FAULTS).map(([fault, expected]) => ({
    fault: fault as FaultName,
    expected,
    broker: withBroker({ services: SERVICES }),
    database: withDatabase(),
  }));
  const reports = new Map<FaultName, Promise<CheckReport>>();

  before('the checks', async () => {
    const queue = [...places];
    const work = async () => {
      for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
        const report = checkForeign(next.broker, next.database, next.fault);
        reports.set(next.fault, report);
        await report.catch(() => {}); // its test reports it
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
  });

  for (const { fault, expected } of places) {
    const { what, broken, perhaps = [] } = expected;
    it(`names ${broken.join(' and ')}, and nothing else, if it ${what}`, async () => {
      const { checks } = (await reports.get(fault)) as CheckReport;
      const found = checks.filter(({ verdict }) => verdict === 'broken');
      const names = found.map(({ check }) => check).filter((check) => !perhaps.includes(check));
      expect(names, JSON.stringify(found, null, 1)).to.deep.equal(broken);
    });
  }
});
