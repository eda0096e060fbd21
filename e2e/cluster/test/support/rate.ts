import { setTimeout as wait } from 'node:timers/promises';
import { takeAccounts } from './accounts.ts';
import { startLoad } from './load.ts';

/** Sign-ups a second that are tried, from the first on. */
const RATES = [50, 35, 25, 15, 10, 5];
/** s that each is tried for. */
const TRIAL = 20;
/** What counts as carried, with something to spare: ms to a 201 for 99 of 100, and ms until all that follows has arrived. */
const ANSWERED = 300;
const SETTLED = 30_000;

let found: Promise<number> | undefined;

/**
 * Sign-ups a second that are carried here with nothing broken, so that what fails under them is not the machine's doing.
 * WARREN_E2E_RATE, or found out, once.
 */
export function carriedRate(): Promise<number> {
  const { WARREN_E2E_RATE: given } = process.env;
  if (given !== undefined) return Promise.resolve(Number(given));
  found ??= findRate();
  return found;
}

async function findRate(): Promise<number> {
  for (const rate of RATES) {
    const load = await startLoad({ rate, patience: 120_000 });
    await wait(TRIAL * 1_000);
    const outcome = await load.end();
    const settled = await takeAccounts(outcome);
    const failed = outcome.signUps.filter(({ failures }) => failures.length > 0).length;
    const times = outcome.signUps.map(({ ms }) => ms).sort((a, b) => a - b);
    const answered = times[Math.floor(0.99 * (times.length - 1))] as number;
    const carried = failed === 0 && answered <= ANSWERED && settled <= SETTLED;
    console.log(
      `        ${rate} sign-ups a second with nothing broken: ${carried ? 'carried' : 'too much for this machine now'} (${failed} of ${times.length} failed at first; 99 % answered in ${answered} ms; all that follows ${Math.round(settled)} ms later)`,
    );
    if (carried) return rate;
  }
  return RATES.at(-1) as number;
}
