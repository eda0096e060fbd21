import type { Check } from '../check.ts';
import type { Context } from '../context.ts';
import type { Changes, Draft, Envelope } from '../draft.ts';

const without = (event: Envelope, ...names: string[]): Envelope =>
  Object.fromEntries(Object.entries(event).filter(([name]) => !names.includes(name)));

/** Two hours ahead of UTC, the same instant. */
function withOffset(time: string): string {
  const shifted = new Date(Date.parse(time) + 2 * 3_600_000).toISOString();
  return shifted.replace('Z', '+02:00');
}

/** Forms that CloudEvents 1.0 and its JSON format allow, each by its description. */
const VARIANTS: Record<string, Changes> = {
  'a charset in the content type': {
    properties: { contentType: 'application/cloudevents+json; charset=utf-8' },
  },
  'a charset in datacontenttype': {
    event: (event) => ({ ...event, datacontenttype: 'application/json; charset=utf-8' }),
  },
  'another JSON type in datacontenttype': {
    event: (event) => ({ ...event, datacontenttype: 'application/vnd.example+json' }),
  },
  'optional attributes that are null': {
    event: (event) => ({
      ...event,
      subject: null,
      causationid: null,
      traceparent: null,
      datacontenttype: null,
    }),
  },
  'a missing datacontenttype': { event: (event) => without(event, 'datacontenttype') },
  'a missing subject': { event: (event) => without(event, 'subject') },
  'a missing correlationid': {
    event: (event) => without(event, 'correlationid'),
    properties: { correlationId: undefined },
  },
  'an empty correlationid and causationid': {
    event: (event) => ({ ...event, correlationid: '', causationid: '' }),
    properties: { correlationId: undefined },
  },
  'a missing time': { event: (event) => without(event, 'time') },
  'a missing time and timestamp': {
    event: (event) => without(event, 'time'),
    properties: { timestamp: undefined },
  },
  'a time with an offset': { event: (event) => ({ ...event, time: withOffset(event.time as string) }) },
  'a time in lower case': { event: (event) => ({ ...event, time: (event.time as string).toLowerCase() }) },
  'data in Base64': {
    event: (event) => ({
      ...without(event, 'data'),
      data_base64: Buffer.from(JSON.stringify(event.data)).toString('base64'),
    }),
  },
  'no property but user-id': {
    properties: {
      messageId: undefined,
      type: undefined,
      appId: undefined,
      correlationId: undefined,
      timestamp: undefined,
      contentType: undefined,
    },
  },
  'a byte order mark': { content: (content) => Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), content]) },
  'a body with spaces and line breaks': {
    content: (_, event) => Buffer.from(JSON.stringify(event, null, 2)),
  },
};

export const variants: Check = {
  name: 'variants',
  demands: `Every form that CloudEvents 1.0 and its JSON format allow is handled: ${[...Object.keys(VARIANTS), 'a missing dataschema (if the queue has one version)', 'an id that is not a UUID', 'the id of another event with another source'].join('; ')}.`,
  why: 'Producers use other libraries. An event that they may send and that is dead-lettered is lost until somebody looks.',
  async run(context) {
    const drafts = Object.entries(VARIANTS).map(([what, changes]) =>
      context.draft(`an event with ${what}`, changes),
    );
    if (context.subject.versions.length === 1)
      drafts.push(
        context.draft('an event with a missing dataschema', {
          event: (event) => without(event, 'dataschema'),
        }),
      );
    drafts.push(...namedByText(context));
    await context.publish(...drafts);
    await context.haveOneEffect(drafts);
  },
};

/** Two events with one id that is not a UUID, from two sources: source and id together identify an event. */
function namedByText(context: Context): [Draft, Draft] {
  const id = `no-uuid/${Date.now().toString(36)}`;
  const first = context.draft('an event with an id that is not a UUID', {
    event: (event) => ({ ...event, id }),
  });
  const second = context.draft('an event with the id of another source', {
    event: (event) => ({ ...event, id, source: `${event.source}/other` }),
  });
  first.twin = second;
  second.twin = first;
  return [first, second];
}
