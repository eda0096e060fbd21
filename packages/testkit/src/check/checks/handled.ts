import type { Check } from '../check.ts';

export const handled: Check = {
  name: 'handled',
  demands: 'A valid event has its effect, once.',
  why: 'All other checks need to see an effect. If this one fails, the others do not run.',
  async run(context) {
    const draft = context.draft('a plain event');
    await context.publish(draft);
    await context.haveOneEffect([draft]);
  },
};
