import type { Check } from '../check.ts';

export const duplicates: Check = {
  name: 'duplicates',
  demands:
    'An event that is delivered four times has one effect: twice in a row, again after it was handled, and as a replay to `SERVICE.return`.',
  why: 'A publisher that crashes before a confirm publishes again, and the broker redelivers whatever was not acknowledged.',
  async run(context) {
    const draft = context.draft('the event that was delivered four times');
    await context.publish(draft, draft);
    await context.haveOneEffect([draft]);
    await context.publish(draft);
    await context.replay(draft);
    await context.handlesOneMore();
    context.areAccepted([draft]);
  },
};
