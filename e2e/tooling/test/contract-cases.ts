// The queues of our services that the contract kit checks.
import { randomUUID } from 'node:crypto';
import type { CheckName, CheckOptions } from '@warren/testkit';

export interface Case extends Pick<CheckOptions, 'sample' | 'method'> {
  queue: string;
  /** Counts the effects; without it, events of the service are counted. */
  sql?: string;
  /** Checks that cannot run on this service. */
  unchecked: readonly CheckName[];
}

const user = { userId: randomUUID(), name: 'Ada', email: 'ada@example.com' };
const order = {
  orderId: randomUUID(),
  userId: randomUUID(),
  productName: 'Tea',
  price: 4.5,
  currency: 'EUR',
};
const request = { userId: randomUUID() };

/** By service: each that consumes events. */
export const CASES: Readonly<Record<string, Case>> = {
  session: {
    queue: 'session.user.created',
    sample: user,
    method: { name: 'session.list.v1', request },
    unchecked: ['failing'],
  },
  order: {
    queue: 'order.user.created',
    sample: user,
    method: { name: 'order.list.v1', request },
    unchecked: ['failing'],
  },
  payment: {
    queue: 'payment.order.created',
    sample: order,
    // Its events come from a task, whose lease outlives the process.
    sql: 'select count(*) from payments where order_id = {data.orderId}',
    method: { name: 'payment.list.v1', request },
    unchecked: ['failing'],
  },
  email: {
    queue: 'email.order.confirmed',
    sample: order,
    sql: 'select count(*) from emails where reference = {data.orderId}',
    // It sends nothing, and publishes nothing, before it knows the user.
    unchecked: ['failing', 'rpc', 'publisher'],
  },
};
