import { eventually, withBroker } from '@warren/testkit';
import { type Channel, type ChannelModel, connect } from 'amqplib';
import { expect } from 'chai';
import { newId } from '../src/id.ts';
import { Messaging } from '../src/messaging/connection.ts';
import { FailedMessagePublisher } from '../src/messaging/failed-message-publisher.ts';
import type { RascalMessage } from '../src/messaging/rascal/rascal.ts';
import { rascalConfig } from '../src/messaging/topology.ts';
import { createLog } from '../src/telemetry/index.ts';
import { listenerBroker } from './fixtures/services.ts';

const QUEUE = 'beta.alpha.written';
const DELAY = { name: '1s', ms: 60_000 };

describe('a failed message whose retry topology somebody deleted', () => {
  after(async () => {
    await failedMessages?.close();
    await messaging?.close();
    await admin?.close();
  });
  const broker = withBroker({ services: ['alpha', 'beta'] });
  let messaging: Messaging;
  let failedMessages: FailedMessagePublisher;
  let admin: ChannelModel;
  let channel: Channel;

  before(async () => {
    messaging = new Messaging({
      url: broker.url('beta'),
      name: 'beta',
      config: () => rascalConfig(listenerBroker('beta')),
      log: createLog({ service: 'beta', version: '1', level: 'silent' }),
      topologyCheckMs: 3_600_000, // what is found before that is found by a publish
    });
    failedMessages = new FailedMessagePublisher({
      service: 'beta',
      user: decodeURIComponent(new URL(broker.url('beta')).username),
      connect: () => messaging.connect(),
      onMissing: () => messaging.checkTopology(),
      replica: { instance: 'test', version: '1' },
    });
    messaging.start();
    await messaging.connected();
    admin = await connect(broker.adminUrl);
    channel = await admin.createChannel();
  });

  const retry = () => {
    const message = { content: Buffer.from('x'), fields: {}, properties: { messageId: newId() } };
    const failure = { reason: 'handler_failed', error: new Error('not yet'), at: new Date() };
    return failedMessages.retry(message as unknown as RascalMessage, QUEUE, DELAY, failure).then(
      () => 'confirmed',
      (error) => error.code ?? error.reason,
    );
  };

  for (const [what, remove, reason] of [
    ['exchange', () => channel.deleteExchange('beta.retry'), 404],
    ['binding', () => channel.unbindQueue('beta.retry.1s', 'beta.retry', '1s'), 'returned'],
    ['queue', () => channel.deleteQueue('beta.retry.1s'), 'returned'],
  ] as const)
    it(`finds its ${what} declared again, because the publish that missed it starts a check`, async () => {
      await remove();

      expect(await retry()).to.equal(reason);

      await eventually(async () => expect(await retry()).to.equal('confirmed'), { timeout: 60_000 });
      expect(await broker.queueDepth('beta.retry.1s')).to.be.above(0);
    }).timeout(90_000);
});
