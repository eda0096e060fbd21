// What every file of tests begins and ends with.
import { expect } from 'chai';
import { takeAccounts } from './accounts.ts';
import { deployed, type Kube, SERVICES } from './kube.ts';
import { type Load, type LoadOptions, type Outcome, startLoad } from './load.ts';
import { carriedRate } from './rate.ts';
import { run } from './run.ts';

export interface UnderLoad {
  /** Where. Default: where `make deploy` deploys. */
  kube?: Kube;
  /** Of the sign-ups a second that are carried here with nothing broken, 50 at the most. Default 1. */
  share?: number;
  /** See {@link LoadOptions}. */
  orders?: LoadOptions['orders'];
  /** See {@link LoadOptions}. */
  patience?: LoadOptions['patience'];
  /** Whether all is counted in the end. Default true. */
  accounts?: boolean;
}

export interface Warren {
  /**
   * Signs people up for as long as `during` takes, and asserts that each of them has all that a sign-up leads to, once. Without
   * `patience` no request may fail.
   */
  underLoad(options: UnderLoad, during: () => Promise<void>): Promise<void>;
}

/** No `describe` begins later. ms since the epoch */
const LAST_BEGIN = Date.now() + Number(process.env.WARREN_E2E_MINUTES ?? Number.POSITIVE_INFINITY) * 60_000;

/**
 * Warren in the current context, for the tests of this `describe`; whole before the first.
 *
 * @param minutes that the `describe` may take; with less than these left it does not begin
 */
export function withWarren(minutes = 0): Warren {
  const loads = new Set<Load>();
  /** Where there was a load. */
  const kubes = new Set<Kube>();

  before('there is time, and Warren is deployed', async function () {
    if (Date.now() + minutes * 60_000 > LAST_BEGIN) {
      console.log(
        `      not run: of the ${process.env.WARREN_E2E_MINUTES} minutes (WARREN_E2E_MINUTES) ${minutes === 0 ? 'none' : `less than ${minutes}`} are left`,
      );
      this.skip();
    }
    const context = (await run('kubectl', ['config', 'current-context'])).trim();
    const { items } = await deployed.get('deployments');
    const names = items.map(({ metadata }: { metadata: { name: string } }) => metadata.name);
    const missing = SERVICES.filter((service) => !names.includes(service));
    if (missing.length > 0)
      throw new Error(
        `${missing.join(', ')} not found in the namespace warren of the context ${context}: \`make deploy\` first`,
      );
    const { data = {} } = await deployed.get('configmap', 'gateway');
    if (data.AUTH === 'jwt')
      throw new Error('these tests send no tokens: deploy with auth.enabled=false, which is the default');
    await deployed.everythingRolledOut();
  });

  afterEach('the end of the load', async function () {
    if (this.currentTest?.state === 'failed')
      for (const kube of kubes.size > 0 ? kubes : [deployed]) await tellWhatIsWrong(kube);
    for (const load of loads) await load.remove();
    loads.clear();
    kubes.clear();
  });

  return {
    async underLoad({ kube = deployed, accounts = true, share = 1, orders, patience }, during) {
      const rate = Math.max(1, share * (await carriedRate()));
      const load = await startLoad({ rate, orders, patience }, kube);
      loads.add(load);
      kubes.add(kube);
      await during();
      await kube.everythingRolledOut();
      const outcome = await load.end();
      loads.delete(load);
      const { signUps } = outcome;
      tell(outcome);
      if (!patience) {
        const failures = signUps.flatMap((each) => each.failures);
        expect(failures.slice(0, 20), `${failures.length} requests failed`).to.deep.equal([]);
      }
      if (!accounts) return;
      const settledAfter = await takeAccounts(outcome, { kube });
      console.log(`        all of it counted, ${(settledAfter / 1_000).toFixed(1)} s after the last`);
    },
  };
}

function tell({ signUps, seconds }: Outcome): void {
  const times = signUps.map(({ ms }) => ms).sort((a, b) => a - b);
  const of = (share: number) => times[Math.floor(share * (times.length - 1))];
  const failed = signUps.reduce((sum, { failures }) => sum + failures.length, 0);
  console.log(
    `        ${signUps.length} sign-ups in ${seconds.toFixed(0)} s, ${failed} attempts failed; answered in ${of(0.5)} ms (median), ${of(0.99)} ms (99 %), ${of(1)} ms (slowest)`,
  );
  const placed = signUps.filter(({ order }) => order !== undefined);
  if (placed.length === 0) return;
  const incomplete = placed.filter(({ missing = [] }) => missing.length > 0).length;
  console.log(`        ${placed.length} orders besides; ${incomplete} overviews lacked a part`);
}

async function tellWhatIsWrong({ kubectl }: Kube): Promise<void> {
  const said = await kubectl(['get', 'pods', '-o', 'wide']);
  console.log(said.replace(/^/gm, '        '));
  for (const service of SERVICES) {
    const log = await kubectl(['logs', `deployment/${service}`, '--since=10m', '--tail=2000']).catch(String);
    const words = log.split('\n').filter((line) => !/^$|"level":"?(info|debug|trace|[123]0)"?\b/.test(line));
    for (const line of words.slice(-8)) console.log(`        ${service}: ${line.slice(0, 400)}`);
  }
}
