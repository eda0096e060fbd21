import { EventEmitter } from 'node:events';
import { buildEvent } from '@warren/contracts';
import { expect } from 'chai';
import type { Units } from '../src/context.ts';
import { newId } from '../src/id.ts';
import { Consumer, on } from '../src/messaging/consumer.ts';
import type { Forwarder } from '../src/messaging/forwarder.ts';
import type { RascalSession } from '../src/messaging/rascal.ts';
import { createLog, createMetrics } from '../src/telemetry/index.ts';
import { written } from './fixtures/services.ts';

describe('a handler that takes too long', () => {
  /** Delivers one event, of which the first `late` transactions take too long; how often it was handled, and what became of it. */
  const deliver = async ({ late, databaseAnswers }: { late: number; databaseAnswers: boolean }) => {
    let handled = 0;
    const calls: string[] = [];
    const units = {
      work: async ({ correlationId }: { correlationId: string }) => {
        if (correlationId === 'consumer') return databaseAnswers;
        handled += 1;
        if (handled <= late)
          throw new DOMException('The operation was aborted due to timeout', 'TimeoutError');
        return 'handled';
      },
    } as unknown as Units;
    const forwarder = { retry: async () => void calls.push('retried') } as unknown as Forwarder;
    const consumer = new Consumer({
      queue: 'beta.alpha.written',
      subscriptions: [on(written, async () => {})],
      units,
      forwarder,
      retryDelays: [{ name: '1s', ms: 1_000 }],
      concurrency: 1,
      retention: 60_000,
      timeout: 1_000,
      log: createLog({ service: 'beta', version: '1', level: 'silent' }),
      metrics: createMetrics({ service: 'beta', version: '1', http: false, database: true, broker: true }),
      now: () => new Date(),
    });
    const session = new EventEmitter();
    consumer.attach(session as unknown as RascalSession);
    const event = buildEvent(written, {
      id: newId(),
      source: '/alpha',
      time: new Date(),
      data: { noteId: newId(), text: 'x' },
    });
    const message = { content: Buffer.from(JSON.stringify(event)), fields: {}, properties: { headers: {} } };
    await new Promise<void>((settled) => {
      session.emit('message', message, undefined, (error?: Error) => {
        calls.push(error === undefined ? 'acknowledged' : 'refused');
        settled();
      });
    });
    return { handled, calls };
  };

  it('is retried later when it is the handler that is slow', async () => {
    const { handled, calls } = await deliver({ late: 1, databaseAnswers: true });
    expect(handled).to.equal(1);
    expect(calls).to.deep.equal(['retried', 'acknowledged']);
  });

  it('waits in place when it is the database that says nothing any more', async () => {
    const { handled, calls } = await deliver({ late: 2, databaseAnswers: false });
    expect(handled).to.equal(3);
    expect(calls).to.deep.equal(['acknowledged']);
  });
});
