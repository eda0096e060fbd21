// The system that a target is pointed at: every service, brought back when an input ended one, and ended by SIGTERM at last.
import { expect } from 'chai';
import {
  everyService,
  figure,
  type Name,
  type Replica,
  type System,
  withSystem,
} from '../../../support/src/index.ts';

/** ms in which SIGTERM ends a service that nothing holds up. An open handle lasts until SHUTDOWN_GRACE. */
const END_MS = 10_000;
/** ms; well above END_MS, so that a handle that is left shows. */
const SHUTDOWN_GRACE = '25s';

export interface House {
  system: System;
  of(service: Name): Replica;
  /** Starts again what has ended. Call it before each case, so that one fault does not hide behind another. */
  restore(): Promise<void>;
  /** @throws {Error} when a process has ended or does not answer, with its last fatal line */
  assertAlive(): Promise<void>;
  /** Defines the last test of the target. */
  endsAtSigterm(): void;
}

/** To be called in a `describe`. */
export function withHouse(env: Record<string, string> = {}, { privateBroker = false } = {}): House {
  const system = withSystem({
    services: everyService,
    privateBroker,
    env: { SHUTDOWN_GRACE, LOG_LEVEL: 'error', ...env },
  });
  let replicas: Record<Name, Replica>;
  let ended: Name[] = [];

  before('the services', async function () {
    this.timeout(120_000);
    replicas = await system.runAll();
  });

  const each = () => Object.values(replicas);
  return {
    system,
    of: (service) => replicas[service],
    async restore() {
      const gone = each().filter(({ running }) => !running);
      for (const replica of gone) replica.start();
      await Promise.all(gone.map((replica) => replica.ready()));
    },
    async assertAlive() {
      await Promise.all(
        each().map(async ({ service, adminUrl, process }) => {
          const alive = await fetch(`${adminUrl}/livez`, { signal: AbortSignal.timeout(20_000) }).then(
            ({ ok }) => ok,
            () => false,
          );
          // A process that dies over an input may answer once more on its way out.
          await new Promise((resolve) => setImmediate(resolve));
          if (alive && process.exitCode === undefined) return;
          if (!ended.includes(service)) ended = [...ended, service];
          throw new Error(`${service} does not live any more: ${lastFatal(process.output)}`);
        }),
      );
    },
    endsAtSigterm() {
      it('leaves no handle: SIGTERM ends every service', async () => {
        const late: string[] = [];
        await Promise.all(
          each().map(async (replica) => {
            if (!replica.running) return late.push(`${replica.service} was not running`);
            const began = performance.now();
            const code = await replica.end();
            const ms = Math.round(performance.now() - began);
            figure(`${replica.service} ended after`, ms, 'ms');
            if (ms > END_MS || code !== 0) late.push(`${replica.service}: exit code ${code} after ${ms} ms`);
          }),
        );
        expect(late, `against ${END_MS} ms and exit code 0`).to.deep.equal([]);
      });
    },
  };
}

function lastFatal(output: string[]): string {
  const line = output.findLast((text) => /"level":"?(fatal|60)"?/.test(text)) ?? output.at(-1);
  return line?.slice(0, 600) ?? '(no output)';
}
