// What an order, or a message, costs when there is more of something: it should cost the same.
import { platformDefinitions } from '@warren/testkit';
import { fillProduct } from './fill.ts';
import { type FlowSettings, runFlow } from './flow.ts';
import { type MessagingResult, runPublishing, runSaving } from './messaging.ts';
import type { Stage } from './stage.ts';
import { flowSystems, relays, type System, savers } from './systems.ts';

export interface GrowthResult {
  /** What there is more of. */
  of: string;
  /** How much of it. */
  value: number;
  system: string;
  title: string;
  round: number;
  /** CPU of an order, or of a message, µs. */
  cost?: number;
  /** Orders paid, or messages. */
  perSecond?: number;
  faults: string[];
}

export interface GrowthOptions {
  rounds: number;
  flow: FlowSettings;
  base?: string;
  isWanted(name: string): boolean;
  /** Of each kind of growth, what is measured; see GROWTH. */
  values: Record<keyof typeof GROWTH, readonly number[]>;
  onResult(result: GrowthResult): void;
}

type Measure = (stage: Stage, system: System, value: number, options: GrowthOptions) => Promise<Measured>;
type Measured = Pick<GrowthResult, 'cost' | 'perSecond' | 'faults'>;

const products = (base?: string) => flowSystems(base).filter(({ work }) => work === 'product');
const sameWorks = (base?: string) =>
  flowSystems(base).filter(({ work, hasInbox }) => work === 'same-work' && hasInbox);

export const GROWTH = {
  rows: {
    title: 'rows in each table',
    systems: products,
    measure: async (stage, system, rows, { flow }) =>
      ofFlow(stage, afterRows(system, rows), flow, { fill: (running) => fillProduct(running, rows) }),
  },
  replicas: {
    title: 'replicas of each service',
    systems: products,
    measure: async (stage, system, replicas, { flow }) => ofFlow(stage, system, flow, { replicas }),
  },
  eventTypes: {
    title: 'event types',
    systems: sameWorks,
    measure: async (stage, system, types, { flow }) => ofFlow(stage, withEventTypes(system, types), flow, {}),
  },
  backlog: {
    title: 'messages in a queue',
    systems: savers,
    measure: async (stage, system, messages) =>
      ofMessages(await runSaving(stage, system, { round: 0, messages })),
  },
  outbox: {
    title: 'events in an outbox',
    systems: relays,
    measure: async (stage, system, messages) =>
      ofMessages(await runPublishing(stage, system, { round: 0, messages })),
  },
} satisfies Record<string, { title: string; systems(base?: string): System[]; measure: Measure }>;

/** Small, large, small, large, …: what happens to the machine meanwhile happens to all of them. */
export async function runGrowth(stage: Stage, options: GrowthOptions): Promise<GrowthResult[]> {
  const results: GrowthResult[] = [];
  for (const [kind, { title: of, systems, measure }] of Object.entries(GROWTH)) {
    const chosen = systems(options.base).filter(({ name }) => name !== 'nest' && options.isWanted(name));
    for (let round = 1; round <= options.rounds; round += 1)
      for (const system of chosen)
        for (const value of options.values[kind as keyof typeof GROWTH]) {
          const { name, title } = system;
          const measured = await measure(stage, system, value, options);
          const result = { of, value, system: name, title, round, ...measured };
          options.onResult(result);
          results.push(result);
        }
  }
  return results;
}

async function ofFlow(
  stage: Stage,
  system: System,
  settings: FlowSettings,
  more: Partial<Parameters<typeof runFlow>[2]>,
): Promise<Measured> {
  const { closed, faults } = await runFlow(stage, system, { round: 0, settings, rateOf: () => 0, ...more });
  return { cost: closed?.cost.total, perSecond: closed?.paidPerSecond, faults };
}

const ofMessages = ({ cost, perSecond, faults }: MessagingResult): Measured => ({ cost, perSecond, faults });

/** Its first rows in outbox and tasks are fillers, and may stay. */
const afterRows = (system: System, rows: number): System => ({
  ...system,
  leftovers: system.leftovers.map((each) =>
    each.service === 'user' ? each : { ...each, sql: `${each.sql} where id > ${rows}` },
  ),
});

/** Payment consumes so many types of order's events, of which an order uses one. */
const withEventTypes = (system: System, types: number): System => ({
  ...system,
  definitions: platformDefinitions(['order', 'payment']),
  services: system.services.map((program) => ({
    ...program,
    env: { ...program.env, EVENT_TYPES: String(types) },
  })),
});
