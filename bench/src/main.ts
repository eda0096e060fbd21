// Warren and its peers, measured in one run:  node src/main.ts  (see `make bench` and settings.ts)
import { cpus } from 'node:os';
import { runCleanups } from '@warren/testkit';
import { type FlowResult, runFlow } from './flow.ts';
import { type FootprintResult, runFootprint } from './footprint.ts';
import { runGrowth } from './growth.ts';
import { type MessagingResult, runConsuming, runPublishing, runSaving } from './messaging.ts';
import { compilePeers } from './peers.ts';
import type { Results } from './report/results.ts';
import {
  printFlow,
  printFootprint,
  printGrowth,
  printMessaging,
  printRun,
  printSignUps,
} from './report/screen.ts';
import { write } from './report/write.ts';
import { REFERENCE, readSettings, type Settings } from './settings.ts';
import { runSignUps, type SignUpResult, type SignUpSettings } from './sign-ups.ts';
import { openStage, Refusal, type Stage } from './stage.ts';
import { BARE, PARTS, relays, type System, savers, shops, wholeSystems } from './systems.ts';

const interrupt = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => {
    interrupt.abort();
    void runCleanups().then(() => process.exit(130));
  });

try {
  process.exitCode = await main();
} catch (error) {
  // An interrupted run fails over the servers that are gone; its end is not an error.
  if (!(error instanceof Refusal) && !interrupt.signal.aborted) throw error;
  if (error instanceof Refusal) console.error(error.message);
  process.exitCode = error instanceof Refusal ? 2 : 130;
} finally {
  await runCleanups();
}

async function main(): Promise<number> {
  const settings = readSettings(process.env);
  compilePeers();
  const stage = await openStage();
  const results: Results = {
    date: new Date().toISOString(),
    machine: { cores: cpus().length, processor: cpus()[0]?.model ?? '', node: process.version },
    broker: `RabbitMQ ${stage.broker.version}`,
    database: `PostgreSQL ${stage.database.version}`,
    size: settings.size,
    rounds: settings.rounds,
    flow: { settings: settings.flow, reference: REFERENCE, systems: [], runs: [] },
  };
  try {
    if (settings.systems.length > 0) {
      results.flow = await runRounds(stage, settings);
      printFlow(results.flow);
    }
    if (settings.sections.includes('sign-ups'))
      results.signUps = await runShops(stage, settings, ...settings.signUps);
    if (settings.sections.includes('restarts'))
      results.restarts = await runShops(stage, settings, settings.restarts);
    if (settings.sections.includes('messaging')) results.messaging = await runMessaging(stage, settings);
    if (settings.sections.includes('footprint')) results.footprint = await runFootprints(stage, settings);
    if (settings.sections.includes('growth'))
      results.growth = await runGrowth(stage, { ...settings, ...settings.growth, onResult: printGrowth });
  } finally {
    await stage.close();
  }
  write(results, settings.isComplete);
  const all = [
    ...results.flow.runs,
    ...(results.signUps ?? []),
    ...(results.restarts ?? []),
    ...(results.messaging ?? []),
    ...(results.footprint ?? []),
    ...(results.growth ?? []),
  ];
  const failed = all.filter(({ faults }) => faults.length > 0).length;
  console.log(`\n${all.length - failed} passed, ${failed} failed`);
  return failed > 0 ? 1 : 0;
}

/** A B C A B C …: what happens to the machine meanwhile happens to all of them. */
async function runRounds(stage: Stage, settings: Settings): Promise<Results['flow']> {
  const { systems, rounds, flow } = settings;
  const runs: FlowResult[] = [];
  let rate = settings.rate;
  for (let round = 1; round <= rounds; round += 1) {
    for (const system of systems) {
      const rateOf = (paidPerSecond: number) => (rate ??= Math.max(1, Math.round(paidPerSecond / 2)));
      const run = await runFlow(stage, system, { round, settings: flow, rateOf });
      printRun(run);
      runs.push(run);
    }
  }
  const described = systems.map(({ name, title, work }) => ({ name, title, work }));
  const reference = systems.some(({ name }) => name === REFERENCE) ? REFERENCE : (systems[0]?.name ?? '');
  return { settings: flow, reference, systems: described, runs };
}

async function runMessaging(stage: Stage, settings: Settings): Promise<MessagingResult[]> {
  const { rounds, messages, bareMessages, base, isWanted } = settings;
  const stored = (systems: System[]) => systems.filter(({ name }) => isWanted(name));
  const bare = [BARE, PARTS].filter(({ name }) => name === BARE.name || isWanted(name));
  const results: MessagingResult[] = [];
  const measure = async (systems: System[], run: typeof runPublishing, count: number, round: number) => {
    for (const system of systems)
      results.push(printMessaging(await run(stage, system, { round, messages: count })));
  };
  for (let round = 1; round <= rounds; round += 1) {
    await measure(bare, runPublishing, bareMessages, round);
    await measure(stored(relays(base)), runPublishing, messages, round);
    await measure(bare, runConsuming, bareMessages, round);
    await measure(stored(savers(base)), runSaving, messages, round);
  }
  return results;
}

async function runFootprints(stage: Stage, settings: Settings): Promise<FootprintResult[]> {
  const { restSeconds: seconds, base } = settings;
  const rounds = roundsAlone(settings);
  const results: FootprintResult[] = [];
  for (let round = 1; round <= rounds; round += 1)
    for (const system of wholeSystems(base).filter(({ name }) => settings.isWanted(name)))
      results.push(printFootprint(await runFootprint(stage, system, { round, seconds })));
  return results;
}

async function runShops(
  stage: Stage,
  settings: Settings,
  ...loads: readonly SignUpSettings[]
): Promise<SignUpResult[]> {
  const results: SignUpResult[] = [];
  for (const load of loads)
    for (let round = 1; round <= roundsAlone(settings); round += 1)
      for (const system of shops(settings.base).filter(({ name }) => settings.isWanted(name)))
        results.push(printSignUps(await runSignUps(stage, system, { round, settings: load })));
  return results;
}

/** Of sections in which Warren is alone, unless there is a checkout to compare with: one is enough to see what it does. */
function roundsAlone({ size, rounds, base }: Settings): number {
  return size === 'full' || base !== undefined ? Math.min(rounds, 3) : 1;
}
