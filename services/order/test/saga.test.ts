import { expect } from 'chai';
import fc from 'fast-check';
import { type SagaEvent, type Status, type Transition, transitions } from '../src/saga.ts';

const events: SagaEvent[] = ['payment.processed', 'payment.failed', 'payment.refunded', 'timeout'];
const deciding: Partial<Record<SagaEvent, Status>> = {
  'payment.processed': 'paid',
  'payment.failed': 'cancelled',
  timeout: 'cancelled',
};

const run = (sequence: SagaEvent[]) => {
  let status: Status = 'pending';
  const told: string[] = [];
  for (const event of sequence) {
    const transition: Transition | undefined = transitions[status][event];
    if (transition === undefined) continue;
    status = transition.to;
    if (transition.emits !== undefined) told.push(transition.emits);
  }
  return { status, told };
};

describe('the transitions of the saga', () => {
  it('end an order at the first deciding event, and emit once, in any order of events', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...events)), (sequence) => {
        const first = sequence.find((event) => deciding[event] !== undefined);
        const status = first === undefined ? 'pending' : (deciding[first] as Status);
        const told = { pending: [], paid: ['order.confirmed'], cancelled: ['order.cancelled'] }[status];
        expect(run(sequence)).to.deep.equal({ status, told });
      }),
      { numRuns: 2_000 },
    );
  });

  it('emit an event for every change of status, and no other', () => {
    for (const [status, row] of Object.entries(transitions))
      for (const event of events) {
        const transition = row[event];
        expect(transition?.emits !== undefined, `${status} + ${event}`).to.equal(
          transition !== undefined && transition.to !== status,
        );
      }
  });
});
