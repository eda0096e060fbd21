import { expect } from 'chai';
import type { RascalMessage } from '../src/messaging/rascal/rascal.ts';
import { requestOf } from '../src/rpc/wire.ts';

describe('the properties of a request over the broker', () => {
  const question = (properties: object) =>
    requestOf({
      properties: {
        messageId: 'id',
        replyTo: 'pilgrim.reply.1',
        headers: { 'x-warren-timeout': 60_000 },
        ...properties,
      },
    } as unknown as RascalMessage);
  /** 128 bytes that are no UTF-8, as amqplib reads them. */
  const garbage = Buffer.alloc(128, 0xff).toString();

  it('are taken where a reply can be sent back', () => {
    expect(question({})).to.include({ id: 'id', replyTo: 'pilgrim.reply.1' });
    expect(question({ messageId: '\u{1f407}'.repeat(60) })).not.to.equal(undefined);
  });

  it('are malformed where a reply could not name them: nobody tries to, until the deadline', () => {
    expect(question({ messageId: garbage })).to.equal(undefined);
    expect(question({ replyTo: `pilgrim.reply.${garbage}` })).to.equal(undefined);
  });
});
