import { join } from 'node:path';
import {
  type CheckReport,
  checkContract,
  freePorts,
  type Verdict,
  withBroker,
  withDatabase,
} from '@warren/testkit';
import { expect } from 'chai';
import * as contract from '../../../packages/contracts/src/index.ts';
import { checkout } from '../../../scripts/copy.ts';
import { CASES } from './contract-cases.ts';

describe('the contract kit finds that', function () {
  this.timeout(180_000);

  for (const [service, { queue, sql, unchecked, ...options }] of Object.entries(CASES)) {
    describe(service, () => {
      const broker = withBroker({ services: [service] });
      const database = withDatabase();

      it(`keeps the wire contract at ${queue}`, async () => {
        const [port, adminPort] = await freePorts(2);
        const env = {
          PORT: String(port),
          ADMIN_PORT: String(adminPort),
          AMQP_URL: broker.url(service),
          DATABASE_URL: database.url,
          RETRY_DELAYS: '100ms,200ms',
          DRAIN_DELAY: '0',
          LOG_LEVEL: 'warn',
        };
        const report = await checkContract({
          ...options,
          queue,
          contract,
          brokerUrl: broker.adminUrl,
          managementUrl: broker.managementUrl,
          ...(sql !== undefined && { effects: { sql, databaseUrl: database.url } }),
          start: { command: 'exec npm start --silent', cwd: join(checkout, 'services', service), env },
          load: 100,
          timeout: 30_000,
        });
        expect(namesOf(report, 'broken'), JSON.stringify(report.checks, null, 1)).to.deep.equal([]);
        expect(namesOf(report, 'not checked')).to.deep.equal(unchecked);
      });
    });
  }
});

const namesOf = ({ checks }: CheckReport, verdict: Verdict) =>
  checks.filter((each) => each.verdict === verdict).map(({ check }) => check);
