import { randomUUID } from 'node:crypto';
import type { Check } from '../check.ts';

/** ms between the two events, by their time. */
const APART_MS = 60_000;

export const reordering: Check = {
  name: 'reordering',
  demands:
    'Of two events about one aggregate the later one arrives first: it has its effect, and neither is retried or dead-lettered.',
  why: 'Events are published in the order of their commits, but a retry changes the order of arrival.',
  async run(context) {
    const later = context.draft('the later event, which arrived first');
    const before = new Date(Date.parse(later.event.time as string) - APART_MS).toISOString();
    const id = randomUUID();
    const earlier = context.draft('the earlier event, which arrived second', {
      data: later.event.data as object,
      event: (event) => ({ ...event, id, time: before }),
      properties: { messageId: id, timestamp: Math.floor(Date.parse(before) / 1_000) },
    });
    await context.publish(later);
    await context.haveAnEffect([later]);
    await context.publish(earlier);
    await context.handlesOneMore();
    context.areAccepted([later, earlier]);
  },
};
