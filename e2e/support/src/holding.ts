// Events that come late, and in another order: a queue is taken off the exchange for a while, and given what it missed later.
import { managementOf } from '@warren/testkit';
import { unique } from './accounts/differences.ts';
import type { Random } from './random.ts';
import type { Name } from './replica.ts';
import type { System } from './system.ts';

export interface Held {
  /** Gives the queue what it has missed, shuffled, and binds it again; returns how much that was. */
  release(random: Random): Promise<number>;
}

/**
 * From now on nothing comes to this service's queue for events of this type.
 * @param type e.g. `user.created`
 */
export async function holdBack(system: System, service: Name, type: string): Promise<Held> {
  const { broker, tape } = system;
  const api = managementOf({ url: broker.adminUrl, managementUrl: broker.managementUrl });
  const queue = `${service}.${type}`;
  const key = `${type}.v1`;
  const bindings = `bindings/${encodeURIComponent(broker.vhost)}/e/events/q/${queue}`;
  await api.request('DELETE', `${bindings}/${key}`);
  const before = (await tape.read()).length;

  return {
    async release(random) {
      await api.request('POST', bindings, { routing_key: key });
      // One that was published in this moment comes twice, which is no harm.
      const missed = (await tape.read()).slice(before).filter((event) => event.type === type);
      for (const { payload, properties } of random.shuffle(missed))
        await broker.publish(`${service}.return`, queue, payload, properties);
      return unique(missed.map(({ messageId }) => messageId)).length;
    },
  };
}
