// What a run of the benchmark does, from the environment of `make bench`.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { FlowSettings } from './flow.ts';
import type { GrowthOptions } from './growth.ts';
import type { SignUpSettings } from './sign-ups.ts';
import { Refusal } from './stage.ts';
import { flowSystems, type System } from './systems.ts';

export const SECTIONS = [
  'same-work',
  'product',
  'sign-ups',
  'restarts',
  'messaging',
  'footprint',
  'growth',
] as const;
export type Section = (typeof SECTIONS)[number];

export interface Settings {
  size: 'quick' | 'default' | 'full';
  rounds: number;
  sections: readonly Section[];
  /** Of the sections `same-work` and `product`, in the order in which a round runs them. */
  systems: readonly System[];
  flow: FlowSettings;
  /** Orders a second in the open loop, where it was chosen. Default: half of what the reference reaches in a closed loop. */
  rate?: number;
  /** Another checkout of Warren to compare with. */
  base?: string;
  /** Messages in the section `messaging`, through a database. */
  messages: number;
  /** The same without one: as many take a tenth of the time. */
  bareMessages: number;
  /** One after the other; the first is the rate of an ordinary day, the others more than the services can follow at once. */
  signUps: readonly SignUpSettings[];
  restarts: SignUpSettings;
  /** s at rest in the section `footprint`. */
  restSeconds: number;
  /** Of the section `growth`; see growth.ts. */
  growth: Pick<GrowthOptions, 'rounds' | 'values'>;
  /** Names that were chosen, of any section; `warren` is both of its kinds of work. */
  isWanted(name: string): boolean;
  /** Nothing was left out: the results belong into docs/performance.md. */
  isComplete: boolean;
}

/** What all ratios are against, where it runs; else the first system. */
export const REFERENCE = 'nest';

type Size = Pick<
  Settings,
  'rounds' | 'flow' | 'messages' | 'bareMessages' | 'signUps' | 'restarts' | 'restSeconds'
>;

/** Of the product's sign-ups; those of the restarts are what filled two cores of a cluster. */
const signUps = (rate: number, seconds: number): SignUpSettings => ({ rate, seconds, warmUpSeconds: 3 });
const restarts = (seconds: number, drainDelay: number): SignUpSettings => ({
  rate: 28,
  seconds,
  warmUpSeconds: 2,
  drainDelay,
});

const SIZES: Record<Settings['size'], Size> = {
  quick: {
    rounds: 1,
    messages: 5_000,
    bareMessages: 20_000,
    signUps: [signUps(20, 5)],
    restarts: restarts(20, 1),
    restSeconds: 5,
    flow: { orders: 1_000, closedSeconds: 6, openSeconds: 4, warmUpOrders: 300, clients: 64 },
  },
  default: {
    rounds: 3,
    messages: 10_000,
    bareMessages: 50_000,
    signUps: [signUps(20, 10), signUps(100, 5)],
    restarts: restarts(30, 1),
    restSeconds: 10,
    flow: { orders: 3_000, closedSeconds: 8, openSeconds: 6, warmUpOrders: 800, clients: 64 },
  },
  full: {
    rounds: 5,
    messages: 100_000,
    bareMessages: 200_000,
    signUps: [signUps(20, 20), signUps(100, 10)],
    // As long, and with the drain delay, as in the cluster.
    restarts: restarts(107, 5),
    restSeconds: 30,
    flow: { orders: 10_000, closedSeconds: 40, openSeconds: 20, warmUpOrders: 2_000, clients: 64 },
  },
};

/** What takes too long for a size, unless it is chosen. */
const LEFT_OUT: Record<Settings['size'], readonly Section[]> = {
  quick: ['restarts', 'growth'],
  default: ['growth'],
  full: [],
};

/** The least value of each is what the others are compared with. */
const GROWN: Record<Settings['size'], Settings['growth']> = {
  quick: growth(1, [1_000, 10_000], [1, 2], [1, 10], [2_000, 10_000]),
  default: growth(1, [1_000, 100_000], [1, 2, 4], [1, 100], [10_000, 100_000]),
  full: growth(2, [1_000, 100_000, 1_000_000], [1, 2, 4], [1, 100], [10_000, 100_000]),
};

/**
 * Reads `QUICK`, `FULL`, `ONLY` (sections), `SYSTEMS` (names; `warren` is both of its kinds of work), `N` (orders), `ROUNDS`, `RATE`
 * (orders a second) and `BASE` (another checkout of Warren).
 * @throws {Refusal} when one of them makes no sense
 */
export function readSettings(env: Record<string, string | undefined>): Settings {
  const size = env.QUICK ? 'quick' : env.FULL ? 'full' : 'default';
  const { rounds, flow, ...ofSize } = SIZES[size];
  const sections = chosen(
    'ONLY',
    env.ONLY,
    SECTIONS,
    SECTIONS.filter((name) => !LEFT_OUT[size].includes(name)),
  );
  const base = env.BASE ? checkoutAt(env.BASE) : undefined;
  const all = flowSystems(base);
  const names = all.map(({ name }) => name);
  const wanted = chosen('SYSTEMS', env.SYSTEMS, names, names);
  const isWanted = (name: string) =>
    wanted.includes(name) || wanted.includes(name.replace(/-(product|parts|door)$/, ''));
  const systems = all.filter(
    ({ name, work }) =>
      isWanted(name) && (sections.includes(work) || (name === REFERENCE && sections.includes('product'))),
  );
  return {
    size,
    rounds: whole('ROUNDS', env.ROUNDS) ?? rounds,
    sections,
    systems,
    base,
    growth: GROWN[size],
    ...ofSize,
    isWanted,
    flow: { ...flow, ...fewer(flow, whole('N', env.N)) },
    rate: whole('RATE', env.RATE),
    isComplete:
      size !== 'quick' && ![env.ONLY, env.SYSTEMS, env.N, env.ROUNDS, env.RATE].some((each) => each),
  };
}

function growth(
  rounds: number,
  rows: readonly number[],
  replicas: readonly number[],
  eventTypes: readonly number[],
  messages: readonly number[],
): Settings['growth'] {
  return { rounds, values: { rows, replicas, eventTypes, backlog: messages, outbox: messages } };
}

/** With a number of orders, time does not limit them. */
const fewer = ({ warmUpOrders }: FlowSettings, orders?: number): Partial<FlowSettings> =>
  orders === undefined ? {} : { orders, closedSeconds: 600, warmUpOrders: Math.min(warmUpOrders, orders) };

function chosen<Name extends string>(
  variable: string,
  value: string | undefined,
  names: readonly Name[],
  fallback: readonly Name[],
): readonly Name[] {
  if (!value) return fallback;
  const wanted = value.split(',').map((name) => name.trim());
  const unknown = wanted.filter((name) => !names.includes(name as Name));
  if (unknown.length > 0)
    throw new Refusal(`${variable} names ${unknown.join(', ')}: there are ${names.join(', ')}.`);
  return names.filter((name) => wanted.includes(name));
}

function whole(variable: string, value: string | undefined): number | undefined {
  if (!value) return undefined;
  if (!/^[1-9]\d*$/.test(value))
    throw new Refusal(`${variable} must be a whole number from 1, not ${value}.`);
  return Number(value);
}

function checkoutAt(path: string): string {
  if (!existsSync(join(path, 'packages/chassis/node_modules')))
    throw new Refusal(`BASE must be a checkout of Warren in which \`make install\` has run, not ${path}.`);
  return path;
}
