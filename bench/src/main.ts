// Warren and its peers, measured in one run:  node src/main.ts  (see `make bench` and settings.ts)
import { cpus } from 'node:os';
import { removeKept } from '@warren/testkit';
import { type FlowResult, runFlow } from './flow.ts';
import { type FootprintResult, runFootprint } from './footprint.ts';
import { runGrowth } from './growth.ts';
import { type MessagingResult, runConsuming, runPublishing } from './messaging.ts';
import { compilePeers } from './peers.ts';
import { printFlow, printFootprint, printGrowth, printMessaging, printRun } from './report/screen.ts';
import { type Results, write } from './report/write.ts';
import { REFERENCE, readSettings, type Settings } from './settings.ts';
import { openStage, Refusal, type Stage } from './stage.ts';
import { BARE, relays, type System, savers, wholeSystems } from './systems.ts';

const interrupt = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => {
    interrupt.abort();
    void removeKept().then(() => process.exit(130));
  });

try {
  process.exitCode = await main();
} catch (error) {
  // An interrupted run fails over the servers that are gone; its end is not an error.
  if (!(error instanceof Refusal) && !interrupt.signal.aborted) throw error;
  if (error instanceof Refusal) console.error(error.message);
  process.exitCode = error instanceof Refusal ? 2 : 130;
} finally {
  await removeKept();
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
    ...(results.messaging ?? []),
    ...(results.footprint ?? []),
    ...(results.growth ?? []),
  ];
  return all.some(({ faults }) => faults.length > 0) ? 1 : 0;
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
  const { rounds, messages, base } = settings;
  const chosen = ({ name }: System) => name === BARE.name || settings.isWanted(name);
  const results: MessagingResult[] = [];
  for (let round = 1; round <= rounds; round += 1) {
    for (const system of [BARE, ...relays(base)].filter(chosen))
      results.push(printMessaging(await runPublishing(stage, system, { round, messages })));
    for (const system of [BARE, ...savers(base)].filter(chosen))
      results.push(printMessaging(await runConsuming(stage, system, { round, messages })));
  }
  return results;
}

async function runFootprints(stage: Stage, settings: Settings): Promise<FootprintResult[]> {
  const { restSeconds: seconds, base } = settings;
  // What services do at rest hardly varies.
  const rounds = settings.size === 'full' ? 3 : 1;
  const results: FootprintResult[] = [];
  for (let round = 1; round <= rounds; round += 1)
    for (const system of wholeSystems(base).filter(({ name }) => settings.isWanted(name)))
      results.push(printFootprint(await runFootprint(stage, system, { round, seconds })));
  return results;
}
