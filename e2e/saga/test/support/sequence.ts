// What may happen to an order and its payment, as data: fast-check makes it, and makes it smaller when something went wrong.
import fc from 'fast-check';
import { LIMIT, type Name } from './parties.ts';

/**
 * One thing that happens. What it happens to is given as a number, taken round what is there at that time (the oldest is 0); when
 * nothing is there, nothing happens.
 */
export type Step =
  /** The client orders, again if need be; or the sign-up that brings the welcome order is delivered, again if need be. */
  | { do: 'place' }
  /**
   * The broker delivers a message: `lost` is handled, but the acknowledgement is lost, so that the message comes again;
   * `failed` is rolled back after all that the handler did.
   */
  | { do: 'deliver'; message: number; ack: 'given' | 'lost' | 'failed' }
  /** A worker claims a task of this service, even one that another holds when that one's lease is over. */
  | { do: 'begin'; at: Name; over: boolean }
  /** A worker asks the provider: the answer may get lost on the way, or nothing may have been done. */
  | { do: 'ask'; worker: number; answer: 'given' | 'lost' | 'failed' }
  /** A worker settles its task, having asked the provider if it had not. */
  | { do: 'settle'; worker: number }
  /** A worker dies with its task, which is free again when its lease is over. */
  | { do: 'die'; worker: number }
  | { do: 'wait'; minutes: number }
  /** A service loses its broker, or finds it again. */
  | { do: 'link'; of: Name; up: boolean }
  /** All at once. */
  | { do: 'race'; steps: Step[] };

export interface Sequence {
  /** By a client's POST, or by a sign-up. */
  start: 'order' | 'welcome';
  /** Minor units */
  price: number;
  currency: 'EUR' | 'USD' | 'GBP';
  steps: Step[];
}

const often = <T>(...weighted: [number, T][]): fc.Arbitrary<T> =>
  fc.oneof(...weighted.map(([weight, value]) => ({ weight, arbitrary: fc.constant(value) })));
const fate = often<'given' | 'lost' | 'failed'>([4, 'given'], [2, 'lost'], [1, 'failed']);
const party = fc.constantFrom<Name>('order', 'payment');

const place: fc.Arbitrary<Step> = fc.constant({ do: 'place' });
const deliver: fc.Arbitrary<Step> = fc.record({ do: fc.constant('deliver'), message: fc.nat(3), ack: fate });
const begin: fc.Arbitrary<Step> = fc.record({
  do: fc.constant('begin'),
  at: often<Name>([3, 'payment'], [2, 'order']),
  over: often([4, false], [1, true]),
});
const ask: fc.Arbitrary<Step> = fc.record({ do: fc.constant('ask'), worker: fc.nat(1), answer: fate });
const settle: fc.Arbitrary<Step> = fc.record({ do: fc.constant('settle'), worker: fc.nat(1) });
const die: fc.Arbitrary<Step> = fc.record({ do: fc.constant('die'), worker: fc.nat(1) });
const wait: fc.Arbitrary<Step> = fc.record({
  do: fc.constant('wait'),
  minutes: often([1, 1], [1, 8], [3, 15], [1, 40]),
});
const link: fc.Arbitrary<Step> = fc.record({ do: fc.constant('link'), of: party, up: fc.boolean() });
const race: fc.Arbitrary<Step> = fc.record({
  do: fc.constant('race'),
  steps: fc.array(fc.oneof(deliver, settle, begin, place), { minLength: 2, maxLength: 3 }),
});

const step = fc.oneof(
  { weight: 1, arbitrary: place },
  { weight: 8, arbitrary: deliver },
  { weight: 5, arbitrary: begin },
  { weight: 4, arbitrary: ask },
  { weight: 5, arbitrary: settle },
  { weight: 1, arbitrary: die },
  { weight: 2, arbitrary: wait },
  { weight: 1, arbitrary: link },
  { weight: 2, arbitrary: race },
);

/** How far it goes without trouble, so that the trouble does not always come at the beginning. */
const beginning: Step[] = [
  { do: 'place' },
  { do: 'deliver', message: 0, ack: 'given' },
  { do: 'begin', at: 'payment', over: false },
  { do: 'ask', worker: 0, answer: 'given' },
  { do: 'settle', worker: 0 },
  { do: 'deliver', message: 0, ack: 'given' },
];
/** No payment in time, or its event was not consumed. */
const late: Step[] = [
  { do: 'wait', minutes: 15 },
  { do: 'begin', at: 'order', over: true },
];
const timeout: Step[] = [...late, { do: 'settle', worker: 1 }];
const outage: Step[] = [{ do: 'link', of: 'order', up: false }, ...timeout];
/** What decides comes at the same moment: an order's timeout and its payment, a charge and the cancellation. */
const tie: Step = {
  do: 'race',
  steps: [
    { do: 'settle', worker: 0 },
    { do: 'settle', worker: 1 },
    { do: 'deliver', message: 0, ack: 'given' },
  ],
};
/** A charge or a refund that comes to no good end. */
const trouble = fate.map((answer): Step[] => [
  { do: 'begin', at: 'payment', over: false },
  answer === 'given' ? { do: 'die', worker: 0 } : { do: 'ask', worker: 0, answer },
]);
const single = step.map((one) => [one]);
const some = (most: number): fc.Arbitrary<Step[]> =>
  fc
    .array(fc.oneof({ weight: 8, arbitrary: single }, { weight: 1, arbitrary: trouble }), {
      maxLength: most,
      size: 'max',
    })
    .map((steps) => steps.flat());

export const sequence: fc.Arbitrary<Sequence> = fc.record({
  start: often<Sequence['start']>([3, 'order'], [1, 'welcome']),
  price: often([8, 12_50], [1, 0], [1, LIMIT], [2, LIMIT + 1]),
  currency: fc.constantFrom('EUR', 'USD', 'GBP'),
  steps: fc
    .tuple(
      fc.nat(beginning.length),
      some(4),
      often([4, []], [3, timeout], [1, outage], [1, [...late, tie]], [1, [...timeout, tie]]),
      some(8),
    )
    .map(([far, before, then, after]) => [...beginning.slice(0, far), ...before, ...then, ...after]),
});
