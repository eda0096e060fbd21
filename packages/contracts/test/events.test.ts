import { randomUUID } from 'node:crypto';
import { type AnyEvent, personalFields } from '@warren/events';
import { expect } from 'chai';
import * as contracts from '../src/index.ts';
import { findUser, userCreated } from '../src/index.ts';

describe('personal fields', () => {
  it('of a user are the name and the e-mail address, in the event and in the method', () => {
    expect(personalFields(userCreated)).to.deep.equal([['name'], ['email']]);
    expect(personalFields({ schema: findUser.reply })).to.deep.equal([['name'], ['email']]);
  });

  it('are marked wherever a field of an event is called name or email', () => {
    for (const definition of Object.values(contracts).filter(isEvent)) {
      const named = Object.keys(definition.schema.describe().keys).filter((key) =>
        /^(name|email)$/i.test(key),
      );
      expect(personalFields(definition), definition.type).to.deep.equal(named.map((name) => [name]));
    }
  });
});

describe('ordinary data', () => {
  const [id, at] = [randomUUID(), new Date().toISOString()];
  const order = { orderId: id, userId: id, productName: 'Thing', price: 10.5, currency: 'EUR' };
  const payment = { paymentId: id, orderId: id, userId: id, amount: 0.29, currency: 'GBP' };
  const samples: Record<string, object> = {
    'user.created': { userId: id, name: 'Ada', email: 'ada@example.com' },
    'session.opened': { sessionId: id, userId: id, expiresAt: at },
    'order.created': order,
    'order.confirmed': order,
    'order.cancelled': { ...order, reason: 'payment_timeout' },
    'payment.processed': payment,
    'payment.failed': { ...payment, reason: 'limit_exceeded' },
    'payment.refunded': { ...payment, reason: 'order_cancelled' },
    'email.sent': { emailId: id, userId: id, template: 'welcome' },
  };

  for (const { type, schema, recognizes } of Object.values(contracts).filter(isEvent))
    it(`of ${type} is accepted as it is, without Joi but for an e-mail address`, () => {
      const sample = samples[type];
      expect(schema.validate(sample, { convert: false })).to.deep.equal({ value: sample });
      expect(recognizes(sample)).to.equal(type !== 'user.created');
    });
});

function isEvent(value: unknown): value is AnyEvent {
  return typeof value === 'object' && value !== null && 'dataschema' in value;
}
