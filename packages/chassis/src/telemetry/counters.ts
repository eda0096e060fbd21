// Counters of a service, declared beside the code that they count.
import { Counter, type Registry } from 'prom-client';
import { WarrenError } from '../errors.ts';

/**
 * A counter of a service: listed in `counters` of service.ts, counted by `work.count`.
 * @example
 * const refusals: CounterDefinition<{ status: Status }> = {
 *   name: 'order_transitions_refused_total',
 *   help: 'Events that an order could not follow, by its status.',
 *   labels: { status: ['pending', 'paid', 'cancelled'] },
 * };
 */
export interface CounterDefinition<Labels extends Record<string, string> = Record<string, string>> {
  /** As on `/metrics`; ends in `_total`. */
  name: string;
  help: string;
  /** All values of each label. Every combination starts at 0, or `rate()` would miss the first increment. */
  labels: { readonly [Name in keyof Labels]: readonly Labels[Name][] };
}

/** Returns a function that increments the counter. */
export type Counters = <Labels extends Record<string, string>>(
  counter: CounterDefinition<Labels>,
  labels: Labels,
) => () => void;

/** The returned function throws a {WarrenError} `invalid_service` for a counter that is not in the definitions. */
export function createCounters(registry: Registry, definitions: readonly CounterDefinition[]): Counters {
  const counters = new Map<string, Counter>();
  for (const { name, help, labels } of definitions) {
    const counter = new Counter({ name, help, labelNames: Object.keys(labels), registers: [registry] });
    for (const each of combinations(Object.entries(labels))) counter.inc(each, 0);
    counters.set(name, counter);
  }
  return ({ name }, labels) => {
    const counter = counters.get(name);
    if (counter === undefined)
      throw new WarrenError(
        'invalid_service',
        `${name} is not in the counters of this service: add it to service.ts`,
      );
    return () => counter.inc(labels);
  };
}

const combinations = (labels: [string, readonly string[]][]): Record<string, string>[] =>
  labels.reduce<Record<string, string>[]>(
    (all, [name, values]) => all.flatMap((each) => values.map((value) => ({ ...each, [name]: value }))),
    [{}],
  );
