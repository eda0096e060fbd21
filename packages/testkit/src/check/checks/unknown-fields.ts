import type { Check } from '../check.ts';

export const unknownFields: Check = {
  name: 'unknown-fields',
  demands:
    'An event with a field in `data`, an extension attribute and a header that the contract does not have is handled as without them.',
  why: 'A new field is not a breaking change: its producer is deployed before its consumers.',
  async run(context) {
    const name = 'addedlater';
    const inData = context.draft('an event with an unknown field in its data', {
      event: (event) => ({ ...event, data: { ...(event.data as object), [name]: { nested: [1, null] } } }),
    });
    const inEnvelope = context.draft('an event with an unknown attribute', {
      event: (event) => ({ ...event, [name]: 'text' }),
    });
    const inHeaders = context.draft('an event with an unknown header', {
      properties: { headers: { [name]: 'text' } },
    });
    const drafts = [inData, inEnvelope, inHeaders];
    await context.publish(...drafts);
    await context.haveOneEffect(drafts);
  },
};
