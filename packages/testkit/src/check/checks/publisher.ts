import type { Recorded } from '../../rabbitmq/probe.ts';
import type { Check } from '../check.ts';
import { type Context, NotChecked } from '../context.ts';
import type { Draft } from '../draft.ts';

export const publisher: Check = {
  name: 'publisher',
  demands:
    'Every event that the service published meanwhile: routing key `TYPE.vN` of its own name, a valid envelope (UUID, `source`, UTC time, `dataschema`, data that fits the contract), `message-id`, `type`, `timestamp`, `app-id`, `user-id`, `correlation-id` and content type that agree with it, persistent; `causationid` is the id of the event that caused it, and `correlationid` is handed on.',
  why: 'Consumers refuse an event without its `user-id`, deduplicate by its id, and people follow a request by its correlation id.',
  async run(context) {
    const { messages } = context.watches.published;
    if (messages.length === 0) throw new NotChecked('the service has published no event');
    const causes = {
      byId: Map.groupBy(context.ledger.drafts, ({ event }) => event.id),
      byCorrelation: new Map(context.ledger.drafts.map((draft) => [draft.event.correlationid, draft])),
    };
    const faults = new Map<string, number>();
    for (const message of messages)
      for (const fault of [...envelopeFaults(message, context), ...originFaults(message, causes)])
        faults.set(fault, (faults.get(fault) ?? 0) + 1);
    for (const [fault, count] of faults) context.fault(`${fault} (${count} of ${messages.length} events)`);
  },
};

const UUID = /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/i;
const UTC = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)$/;
const CONTENT_TYPE = /^application\/cloudevents\+json *(;|$)/i;

/** Each fact with what it has to be: a text, or a test. */
function envelopeFaults({ body, routingKey, properties }: Recorded, context: Context): string[] {
  const { service, user } = context.subject;
  if (typeof body !== 'object' || body === null) return [`${routingKey}: its body is not JSON`];
  const [, type, version] = /^(.+)\.v(\d+)$/.exec(routingKey) ?? [];
  const isItsTime = (seconds: unknown) => Math.abs(Number(seconds) - Date.parse(body.time) / 1_000) <= 1;
  const facts: [string, unknown, unknown][] = [
    ['specversion', body.specversion, '1.0'],
    ['id', body.id, UUID],
    ['source', body.source, `/${service}`],
    ['type', body.type, type],
    ['time', body.time, UTC],
    ['datacontenttype', body.datacontenttype, /^application\/json/i],
    ['dataschema', body.dataschema, `urn:warren:${type}:v${version}`],
    ['the property message-id', properties.messageId, body.id],
    ['the property type', properties.type, body.type],
    ['the property app-id', properties.appId, service],
    ['the property user-id', properties.userId, user],
    ['the property correlation-id', properties.correlationId, body.correlationid],
    ['the property timestamp', properties.timestamp, isItsTime],
    ['the property content-type', properties.contentType, CONTENT_TYPE],
    ['the property delivery-mode', properties.deliveryMode, 2],
  ];
  const faults = facts.flatMap(([name, found, wanted]) =>
    fits(found, wanted)
      ? []
      : [`${routingKey}: ${name} is ${shown(name, found)}; expected ${shown(name, wanted)}`],
  );
  const invalid = context.contracts.data(routingKey)?.(body.data);
  return invalid === undefined
    ? faults
    : [...faults, `${routingKey}: its data does not fit the contract: ${invalid}`];
}

function fits(found: unknown, wanted: unknown): boolean {
  if (typeof wanted === 'function') return wanted(found);
  return wanted instanceof RegExp ? typeof found === 'string' && wanted.test(found) : found === wanted;
}

/** Ids and times differ from event to event; the same fault of all is named once. */
const VARYING = /-id$|^id$|time/;
function shown(name: string, value: unknown): string {
  if (value === undefined) return 'missing';
  if (typeof value === 'function') return 'the time of the event in seconds';
  if (value instanceof RegExp) return `a value like ${value.source}`;
  return VARYING.test(name) && !/app-id|user-id/.test(name) ? 'another' : String(value);
}

interface Causes {
  byId: ReadonlyMap<unknown, Draft[]>;
  byCorrelation: ReadonlyMap<unknown, Draft>;
}

function originFaults({ body, routingKey }: Recorded, { byId, byCorrelation }: Causes): string[] {
  if (typeof body !== 'object' || body === null) return [];
  const found = byId.get(body.causationid);
  if (found !== undefined) {
    const isHandedOn = found.some(
      ({ event }) => !event.correlationid || event.correlationid === body.correlationid,
    );
    if (isHandedOn) return [];
    return [`${routingKey}: correlationid is not that of the event that caused it`];
  }
  // Another event of the same request may be the cause.
  if (!byCorrelation.has(body.correlationid) || (body.causationid && body.causationid !== body.id)) return [];
  return [`${routingKey}: causationid is ${body.causationid ? 'its own id' : 'missing'}`];
}
