import { EventEmitter } from 'node:events';
import { buildEvent } from '@warren/events';
import { eventually } from '@warren/testkit';
import { expect } from 'chai';
import type { BatchOptions, PieceOfWork, UnitsOfWork, WorkContext } from '../src/context.ts';
import { newId } from '../src/id.ts';
import { Consumer } from '../src/messaging/consumer.ts';
import type { FailedMessagePublisher } from '../src/messaging/failed-message-publisher.ts';
import { Producers } from '../src/messaging/producers.ts';
import type { RascalSession } from '../src/messaging/rascal/rascal.ts';
import { reportTo } from '../src/messaging/reports.ts';
import { createLog, createMetrics } from '../src/telemetry/index.ts';
import { written } from './fixtures/services.ts';

const QUEUE = 'beta.alpha.written';

describe('a consumer', () => {
  const metrics = createMetrics({
    service: 'beta',
    version: '1',
    http: false,
    database: true,
    broker: true,
  });
  const session = new EventEmitter() as RascalSession;
  let handled = 0;
  // Nothing is known of before, and every transaction commits.
  const units = {
    async batch(
      pieces: readonly (PieceOfWork & { inboxId: string })[],
      { first }: BatchOptions<PieceOfWork> = {},
    ) {
      const rows = pieces.map(({ inboxId }) => ({ message_id: inboxId }));
      const fresh = await first?.(async () => ({ command: 'INSERT', rowCount: rows.length, rows }));
      for (const piece of fresh ?? pieces) await piece.run({} as WorkContext, { hasWritten: () => false });
    },
  } as unknown as UnitsOfWork;
  const failedMessages = { deadLetter: () => new Promise(() => {}) } as unknown as FailedMessagePublisher;

  const consumer = new Consumer({
    queue: QUEUE,
    handlers: [
      {
        event: written,
        handle: async () => {
          handled += 1;
        },
      },
    ],
    units,
    availability: { check: async () => true },
    intake: { add: () => {}, claim: async () => () => {}, isClosed: () => false },
    failedMessages,
    producers: new Producers({
      service: 'beta',
      url: 'amqp://localhost',
      check: 'enforce',
      operators: [],
      log: createLog({ service: 'beta', version: '1', level: 'silent' }),
      metrics,
    }),
    deliveryLimit: 10,
    retryDelays: [],
    concurrency: 2,
    retention: 60_000,
    timeout: 1_000,
    log: createLog({ service: 'beta', version: '1', level: 'silent' }),
    report: reportTo(metrics, { queue: QUEUE, type: written.type }),
    now: () => new Date(),
  });
  const deliver = (content: string) =>
    session.emit(
      'message',
      { content: Buffer.from(content), fields: {}, properties: {} },
      undefined,
      () => {},
    );

  it('starts its counters at zero, so that the first dead letter shows in a rate', async () => {
    const { values } = await metrics.eventsConsumed.get();
    expect(values.map(({ labels, value }) => [labels.outcome, value])).to.deep.equal([
      ['handled', 0],
      ['duplicate', 0],
      ['retried', 0],
      ['dead', 0],
    ]);
    expect(values[0]?.labels).to.deep.include({ queue: QUEUE, type: 'alpha.written' });
  });

  it('goes on handling events while the broker blocks publishers and takes no dead letters', async () => {
    consumer.attach(session, new AbortController().signal);
    for (let poison = 0; poison < 5; poison += 1) deliver('poison');
    const data = { noteId: newId(), text: 'x' };
    deliver(JSON.stringify(buildEvent(written, { id: newId(), source: '/alpha', time: new Date(), data })));
    await eventually(() => expect(handled).to.equal(1));
  });
});
