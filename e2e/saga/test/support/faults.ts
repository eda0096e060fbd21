// Services that are wrong in one way each, so that an audit that finds nothing is known to have looked.
import { randomUUID } from 'node:crypto';
import type { EventHandler, Handler, ServiceDescription, Worker } from '@warren/chassis';
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

// biome-ignore lint/suspicious/noExplicitAny: handlers of all events
type AnyHandler = Handler<any>;

const withHandlers = (parties: Parties, name: Name, to: (handle: AnyHandler, queue: string) => AnyHandler) =>
  change(parties, name, ({ handlers = {} }) => ({
    handlers: Object.fromEntries(
      Object.entries(handlers).map(([queue, handler]) => {
        const given = handler as EventHandler;
        return [
          queue,
          typeof given === 'function' ? to(given, queue) : { ...given, handle: to(given.handle, queue) },
        ];
      }),
    ),
  }));
const withWorkers = (parties: Parties, name: Name, to: (worker: Worker) => Worker) =>
  change(parties, name, ({ workers = [] }) => ({ workers: workers.map(to) }));

/** A key of its own for each attempt. */
const forgetful = (worker: Worker): Worker => ({
  ...worker,
  perform: (task, context) =>
    worker.perform?.({ ...task, data: { ...task.data, key: randomUUID() } }, context) ?? Promise.resolve(),
});

export const faults: Record<string, (parties: Parties) => Parties> = {
  'payment that does not consume cancellations': (parties) =>
    withHandlers(parties, 'payment', (handle, queue) =>
      queue === 'payment.order.cancelled' ? async () => {} : handle,
    ),
  'payment that takes a charge back while a worker is at it': (parties) =>
    withHandlers(
      parties,
      'payment',
      (handle) => (event, work) =>
        handle(event, {
          ...work,
          unschedule: async (kind, key) => (await work.unschedule(kind, key)) || true,
        }),
    ),
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
    withHandlers(parties, 'order', (handle) => async (event, work) => {
      await handle(event, work);
      await handle(event, work);
    }),
  'an order service that does not consume payments': (parties) =>
    withHandlers(parties, 'order', (handle, queue) =>
      queue === 'order.payment.processed' ? async () => {} : handle,
    ),
  'orders that time out while the broker is unavailable': (parties) =>
    withWorkers(parties, 'order', (worker) => ({
      ...worker,
      complete: (task, result, work) => worker.complete(task, result, { ...work, brokerSince: new Date(0) }),
    })),
};
