// Everything about a user, requested from the services over the broker. Parts that are unavailable are listed as missing.
import { Problem, type ReadContext } from '@warren/chassis';
import {
  findUser,
  listOrders,
  listPayments,
  listSessions,
  type Order,
  type Payment,
  type Session,
  type User,
} from '@warren/contracts';

export interface Overview {
  user: User | null;
  sessions: Session[] | null;
  orders: Order[] | null;
  payments: Payment[] | null;
  /** Parts that are null because there was no response in time. */
  missing: string[];
}

/**
 * Requests all parts in parallel, with one deadline.
 * @param timeout ms
 * @throws {Problem} 404 `user_unknown`
 */
export async function overviewOf(
  userId: string,
  { request, log }: Pick<ReadContext, 'request' | 'log'>,
  timeout: number,
): Promise<Overview> {
  const missing: string[] = [];
  const part = async <T>(name: string, reply: Promise<T>): Promise<T | null> => {
    try {
      return await reply;
    } catch (error) {
      if (name === 'user' && error instanceof Problem && error.status === 404) throw error;
      missing.push(name);
      // An outage of the broker fails all parts, and is logged elsewhere.
      const code = error instanceof Problem ? error.code : undefined;
      if (code !== 'broker_unavailable')
        log.warn({ err: error, part: name }, 'part of an overview is missing');
      return null;
    }
  };
  const [user, sessions, orders, payments] = await Promise.all([
    part('user', request(findUser, { userId }, { timeout })),
    part('sessions', request(listSessions, { userId }, { timeout }).then(itemsOf)),
    part('orders', request(listOrders, { userId }, { timeout }).then(itemsOf)),
    part('payments', request(listPayments, { userId }, { timeout }).then(itemsOf)),
  ]);
  return {
    user,
    sessions,
    orders,
    payments,
    missing: missing.sort((a, b) => PARTS.indexOf(a) - PARTS.indexOf(b)),
  };
}

const itemsOf = <T>({ items }: { items: T[] }): T[] => items;

export const PARTS = ['user', 'sessions', 'orders', 'payments'];
