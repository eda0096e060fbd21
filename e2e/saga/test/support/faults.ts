// Services that are wrong in one way each, so that an audit that finds nothing is known to have looked.
import { randomUUID } from 'node:crypto';
import type { ServiceDescription, Subscription, Worker } from '@warren/chassis';
import type { Name, Parties } from './parties.ts';

/** The same services, one of them changed. */
function change(
  parties: Parties,
  name: Name,
  to: (description: ServiceDescription) => Partial<ServiceDescription>,
): Parties {
  const party = parties[name];
  return {
    ...parties,
    [name]: { ...party, description: { ...party.description, ...to(party.description) } },
  };
}

const withHandlers = (parties: Parties, name: Name, to: (subscription: Subscription) => Subscription) =>
  change(parties, name, ({ handlers = [] }) => ({ handlers: handlers.map(to) }));
const withWorkers = (parties: Parties, name: Name, to: (worker: Worker) => Worker) =>
  change(parties, name, ({ workers = [] }) => ({ workers: workers.map(to) }));

/** A key of its own for each attempt. */
const forgetful = (worker: Worker): Worker => ({
  ...worker,
  perform: (task, context) =>
    worker.perform?.({ ...task, data: { ...task.data, key: randomUUID() } }, context) ?? Promise.resolve(),
});

export const faults: Record<string, (parties: Parties) => Parties> = {
  'payment that does not hear of cancellations': (parties) =>
    withHandlers(parties, 'payment', (each) =>
      each.event.type === 'order.cancelled' ? { ...each, handle: async () => {} } : each,
    ),
  'payment that takes a charge back while a worker is at it': (parties) =>
    withHandlers(parties, 'payment', (each) => ({
      ...each,
      handle: (event, work) =>
        each.handle(event, {
          ...work,
          unschedule: async (kind, key) => (await work.unschedule(kind, key)) || true,
        }),
    })),
  'charges under a new key at every attempt': (parties) =>
    withWorkers(parties, 'payment', (worker) =>
      worker.kind === 'payment.charge' ? forgetful(worker) : worker,
    ),
  'refunds under a new key at every attempt': (parties) =>
    withWorkers(parties, 'payment', (worker) =>
      worker.kind === 'payment.refund' ? forgetful(worker) : worker,
    ),
  'payment that takes a charge for granted': (parties) =>
    withWorkers(parties, 'payment', (worker) =>
      worker.kind === 'payment.charge'
        ? { ...worker, perform: async () => ({ outcome: 'accepted' }) }
        : worker,
    ),
  'an order service without an inbox': (parties) =>
    withHandlers(parties, 'order', (each) => ({
      ...each,
      handle: async (event, work) => {
        await each.handle(event, work);
        await each.handle(event, work);
      },
    })),
  'an order service that does not hear of payments': (parties) =>
    withHandlers(parties, 'order', (each) =>
      each.event.type === 'payment.processed' ? { ...each, handle: async () => {} } : each,
    ),
  'orders that time out while the broker is away': (parties) =>
    withWorkers(parties, 'order', (worker) => ({
      ...worker,
      complete: (task, result, work) => worker.complete(task, result, { ...work, brokerSince: new Date(0) }),
    })),
};
