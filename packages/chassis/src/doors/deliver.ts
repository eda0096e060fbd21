// What the tests of an application need of its consumers.
import { buildEvent, type CloudEvent, type EventDefinition } from '@warren/events';
import { BatchError, type Log, type PieceOfWork } from '../context.ts';
import { newId } from '../id.ts';
import { inboxId, insertMessages } from '../inbox/inbox.ts';
import { originOf } from '../messaging/reports.ts';
import type { Adapter } from './adapter.ts';
import { warningsOnly } from './log.ts';
import { type Followers, unitsOn, type Work } from './work.ts';

export interface DeliverOptions<Data extends object, Handle> extends Followers {
  /** The application's name. */
  service: string;
  adapter: Adapter<Handle>;
  event: EventDefinition<Data>;
  data: Data;
  handler: (event: CloudEvent<Data>, work: Work<Handle>) => Promise<void>;
  /** Of the event, e.g. to deliver it once more. @defaultValue a new id */
  id?: string;
  /** What the event is about. */
  aggregate?: string;
  log?: Log;
}

/**
 * Delivers an event to a handler in a transaction of the adapter, as the consumer would, without a broker. It commits.
 * @returns the event's id, and whether it was handled: with the same id, the second delivery is a duplicate
 * @throws the error of the handler, after the rollback
 * @throws {ContractError} when the data does not match the event's schema
 * @example
 * const { id } = await deliver({ service: 'loyalty', adapter, event: orderConfirmed, data, handler });
 * expect((await deliver({ service: 'loyalty', adapter, event: orderConfirmed, data, handler, id })).outcome).to.equal('duplicate');
 */
export async function deliver<Data extends object, Handle>(
  options: DeliverOptions<Data, Handle>,
): Promise<{ id: string; outcome: 'handled' | 'duplicate' }> {
  const {
    service,
    adapter,
    event: definition,
    data,
    handler,
    id = newId(),
    aggregate,
    log = warningsOnly,
  } = options;
  const event = buildEvent(definition, {
    id,
    source: `/${definition.from}`,
    time: new Date(),
    data,
    correlationId: id,
    ...(aggregate !== undefined && { subject: aggregate }),
  });
  let outcome: 'handled' | 'duplicate' = 'duplicate';
  const piece: PieceOfWork = {
    key: event.subject ?? id,
    origin: originOf(event, log),
    run: (work) => handler(event, work as unknown as Work<Handle>),
  };
  await unitsOn(adapter, { ...options, log })
    .batch([piece], {
      first: async (send) => {
        const { rows } = await send(
          insertMessages(`${service}.${definition.type}`, [{ id: inboxId(event) }]),
        );
        outcome = rows.length === 1 ? 'handled' : 'duplicate';
        return rows.length === 1 ? [piece] : [];
      },
    })
    .catch((error) => {
      throw error instanceof BatchError ? error.cause : error;
    });
  return { id, outcome };
}
