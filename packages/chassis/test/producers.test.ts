import { expect } from 'chai';
import { loadConfig } from '../src/config.ts';
import { ConfigError } from '../src/index.ts';
import { type ProducerCheck, Producers } from '../src/messaging/producers.ts';
import type { RascalMessage } from '../src/messaging/rascal/rascal.ts';
import { createMetrics } from '../src/telemetry/index.ts';
import { recordedLog } from './fixtures/relay.ts';

const metrics = createMetrics({ service: 'order', version: '1', http: false, database: false, broker: true });

function producersOf(user: string, { check = 'enforce' as ProducerCheck, service = 'order' } = {}) {
  const { log, lines } = recordedLog();
  const url = `amqp://${user === '' ? '' : `${encodeURIComponent(user)}:secret@`}localhost/vhost`;
  const producers = new Producers({ service, url, check, operators: ['admin'], log, metrics });
  const accepts = (userId: string | undefined, from = 'payment') => {
    const message = { fields: {}, properties: { userId } } as RascalMessage;
    return producers.refuseEvent(message, 'order.payment.processed', from) === undefined;
  };
  return { producers, accepts, lines };
}

describe("the producers that a service derives from its own user's name", () => {
  const users: [string, string, string][] = [
    ['order', 'order', 'payment'],
    ['demo.order', 'demo.order', 'demo.payment'],
    ['warren-order-rw', 'warren-order-rw', 'warren-payment-rw'],
    ['orders.of.order', 'orders.of.order', 'orders.of.payment'],
    ['a@b:order', 'a@b:order', 'a@b:payment'],
  ];
  for (const [own, itself, producer] of users)
    it(`are ${producer} to ${own}`, () => {
      const { producers, accepts } = producersOf(own);
      expect(producers.user).to.equal(own);
      for (const user of [itself, producer, `${producer}.next`, `${itself}.next`, 'admin'])
        expect(accepts(user), user).to.equal(true);
      for (const user of [
        undefined,
        '',
        'session',
        producer.replace('payment', 'session'),
        `${producer}x`,
        `x${producer}`,
        `${producer}.next.next`,
        'guest',
      ])
        expect(accepts(user), String(user)).to.equal(false);
    });

  it('are the same while the password of its own user is rotated', () => {
    const { producers, accepts } = producersOf('demo.order.next');
    expect(producers.user).to.equal('demo.order.next');
    for (const user of ['demo.order', 'demo.order.next', 'demo.payment', 'demo.payment.next'])
      expect(accepts(user), user).to.equal(true);
    expect(accepts('demo.session')).to.equal(false);
  });

  it('are not checked when every service is guest, which is logged once', () => {
    for (const user of ['', 'guest']) {
      const { producers, accepts, lines } = producersOf(user);
      expect(producers.user).to.equal('guest');
      expect([undefined, 'guest', 'session'].map((each) => accepts(each))).to.deep.equal([true, true, true]);
      expect(lines.map(({ msg }) => msg)).to.deep.equal([
        "every service may be the user 'guest': PRODUCER_CHECK is off",
      ]);
    }
  });

  it('cannot be derived from a name without that of the service: the start fails with a sentence', () => {
    for (const check of ['enforce', 'report'] as const)
      expect(() => producersOf('warren', { check })).to.throw(
        ConfigError,
        "AMQP_URL: the user 'warren' must contain the service's name 'order', from which the users of the others follow (or set PRODUCER_CHECK=off)",
      );
    expect(producersOf('warren', { check: 'off' }).accepts('whoever')).to.equal(true);
  });

  it('are checked by default', () => {
    const read = (env: Record<string, string>) =>
      loadConfig({ database: false, broker: true, env: { AMQP_URL: 'amqp://localhost', ...env } });
    expect(read({})).to.deep.include({ PRODUCER_CHECK: 'enforce', OPERATORS: [] });
    expect(read({ OPERATORS: 'admin, console' }).OPERATORS).to.deep.equal(['admin', 'console']);
    expect(() => read({ OPERATORS: 'admin,,' })).to.throw('OPERATORS: must be names separated by commas');
    expect(() => read({ PRODUCER_CHECK: 'on' })).to.throw('PRODUCER_CHECK: must be one of');
  });
});
