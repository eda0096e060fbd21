import type { RunningService } from '@warren/chassis';
import { emailSent } from '@warren/contracts';
import { parseEvent } from '@warren/events';
import { client, eventually, withBroker, withDatabase } from '@warren/testkit';
import { expect } from 'chai';
import { customer } from './events.ts';
import { launchEmail } from './launch.ts';
import { type MailServer, startMailServer } from './mail-server.ts';

describe('sending e-mails', () => {
  const broker = withBroker({ services: ['email'] });
  const database = withDatabase();
  let mail: MailServer;
  let email: RunningService;
  let http: ReturnType<typeof client>;

  const emailsOf = async (userId: string) => (await http.get(`/emails?userId=${userId}`)).body.items;
  const sent = (userId: string, count: number) =>
    eventually(async () => {
      const items = await emailsOf(userId);
      expect(items.filter(({ status }: { status: string }) => status === 'sent')).to.have.length(count);
      return items;
    });

  before(async () => {
    mail = await startMailServer();
    email = await launchEmail({ broker, database, smtp: mail.url });
    http = client(email.url);
  });
  after(async () => {
    await email?.stop();
    await mail?.stop();
  });

  it('welcomes a user in text and HTML', async () => {
    const ada = customer();
    await broker.publish(...ada.created());
    const [{ from, to, mail: message } = expect.fail()] = await mail.waitFor(ada.email);
    expect({ from, to }).to.deep.equal({ from: 'shop@warren.example', to: [ada.email] });
    expect(message.subject).to.equal('Welcome to Warren');
    expect(message.from?.text).to.equal('"Warren" <shop@warren.example>');
    expect(message.to).to.have.property('text', `"Ada Lovelace" <${ada.email}>`);
    expect(message.text).to.match(/^Hello Ada Lovelace,\n/);
    expect(message.html).to.contain('<p>Hello Ada Lovelace,</p>');
    expect(message.headers.get('auto-submitted')).to.equal('auto-generated');
  });

  it('stores a sent e-mail with the id in its Message-ID', async () => {
    const ada = customer();
    await broker.publish(...ada.created());
    const [item] = await sent(ada.userId, 1);
    const [{ mail: message } = expect.fail()] = await mail.waitFor(ada.email);
    expect(message.messageId).to.equal(`<${item.id}@warren.example>`);
    expect(item).to.deep.equal({
      id: item.id,
      userId: ada.userId,
      to: ada.email,
      template: 'welcome',
      subject: 'Welcome to Warren',
      status: 'sent',
      sentAt: new Date(item.sentAt).toISOString(),
    });
  });

  it('publishes email.sent once, with the correlation id of its cause', async () => {
    const probe = await broker.probe('events', 'email.#');
    const ada = customer();
    const published = ada.created();
    await broker.publish(...published);
    const [message] = await probe.waitFor(({ content }) => content.includes(ada.userId));
    const event = parseEvent(message!.content, [emailSent]);
    const [item] = await sent(ada.userId, 1);
    expect(event.data).to.deep.equal({ emailId: item.id, userId: ada.userId, template: 'welcome' });
    expect(event).to.include({
      source: '/email',
      subject: item.id,
      correlationid: published[3].correlationId,
    });
    expect(probe.events.filter(({ content }) => content.includes(ada.userId))).to.have.length(1);
  });

  describe('about an order', () => {
    const cases = [
      {
        event: 'ordered',
        template: 'order-received',
        subject: 'We have received your order',
        says: ['Thank you for your order', 'Analytical engine', '€1,234.50'],
      },
      {
        event: 'confirmed',
        template: 'order-confirmed',
        subject: 'Your order is confirmed',
        says: ['Your order has been paid and is confirmed.', 'Analytical engine', '€1,234.50'],
      },
      {
        event: 'cancelled',
        template: 'order-cancelled',
        subject: 'Your order has been cancelled',
        says: [
          'We had to cancel your order: the amount is above the limit for one payment.',
          'Analytical engine',
          '€1,234.50',
        ],
      },
      {
        event: 'refunded',
        template: 'payment-refunded',
        subject: 'Your payment has been refunded',
        says: ['We have refunded your payment.', 'it was not paid in time', '€1,234.50'],
      },
    ] as const;
    for (const { event, template, subject, says } of cases)
      it(`reports that the order was ${event}`, async () => {
        const ada = customer();
        await broker.publish(...ada.created());
        await mail.waitFor(ada.email);
        await broker.publish(...ada[event]());
        const all = await mail.waitFor(ada.email, 2);
        const message = all.at(-1)!.mail;
        expect(message.subject).to.equal(subject);
        for (const part of [message.text, message.html])
          for (const words of [...says, 'Hello Ada Lovelace', ada.orderId]) expect(part).to.contain(words);
        const items = await sent(ada.userId, 2);
        expect(items.map((item: { template: string }) => item.template)).to.have.members([
          'welcome',
          template,
        ]);
      });
  });

  it('delays an e-mail until its user is known', async () => {
    const ada = customer();
    await broker.publish(...ada.ordered());
    const [waiting] = await eventually(async () => {
      const items = await emailsOf(ada.userId);
      expect(items).to.have.length(1);
      return items;
    });
    expect(waiting).to.include({ template: 'order-received', status: 'pending' });
    expect(waiting).to.not.have.any.keys('to', 'sentAt');
    expect(await broker.queueDepth('email.retry.1s'), 'it climbs no ladder').to.equal(0);

    await broker.publish(...ada.created());
    const items = await sent(ada.userId, 2);
    expect(items.map(({ to }: { to: string }) => to)).to.deep.equal([ada.email, ada.email]);
    await mail.waitFor(ada.email, 2);
  });

  it('leaves no e-mail waiting when events of one user are concurrent', async function () {
    this.timeout(60_000);
    const customers = Array.from({ length: 200 }, () => customer());
    await Promise.all(
      customers.flatMap((each, index) => {
        const messages = [each.created(), each.ordered(), each.confirmed(), each.cancelled()];
        if (index % 2 === 1) messages.reverse();
        return messages.map((message) => broker.publish(...message));
      }),
    );
    await eventually(
      async () => {
        const [left] = await database.admin<{ n: number }>(
          'select count(*)::int as n from emails where user_id = any($1) and status = $2',
          [customers.map(({ userId }) => userId), 'sent'],
        );
        expect(left?.n).to.equal(800);
      },
      { timeout: 50_000 },
    );
    for (const each of customers) expect(mail.to(each.email)).to.have.length(4);
  });

  it('writes one e-mail per template and subject, for any deliveries in any order', async function () {
    this.timeout(30_000);
    const ada = customer();
    const messages = [ada.created(), ada.ordered(), ada.confirmed(), ada.cancelled(), ada.refunded()];
    const again = [ada.created(), ada.ordered(), ada.confirmed(), ada.cancelled(), ada.refunded()];
    const all = [...messages, ...again, ...messages.toReversed(), ...again, ...again.toReversed()];
    await Promise.all(all.toReversed().map((message) => broker.publish(...message)));
    await sent(ada.userId, 5);
    const handled = () =>
      database.admin('select 1 from warren.inbox where message_id = any($1)', [
        [...messages, ...again].map(([, , , { messageId }]) => messageId),
      ]);
    await eventually(async () => expect(await handled()).to.have.length(10));
    const last = customer();
    await broker.publish(...last.created());
    await mail.waitFor(last.email);
    expect(await emailsOf(ada.userId)).to.have.length(5);
    expect(mail.to(ada.email)).to.have.length(5);
    expect(new Set(mail.to(ada.email).map((each) => each.mail.messageId)).size).to.equal(5);
  });

  it('keeps the first address when two events differ', async () => {
    const ada = customer();
    await broker.publish(...ada.created());
    await sent(ada.userId, 1);
    const other = customer({ email: `other-${ada.email}` });
    const [exchange, key, content, properties] = other.created();
    const forged = Buffer.from(content.toString().replaceAll(other.userId, ada.userId));
    await broker.publish(exchange, key, forged, properties);
    await broker.publish(...ada.ordered());
    await sent(ada.userId, 2);
    expect(mail.to(ada.email)).to.have.length(2);
    expect(mail.to(other.email)).to.have.length(0);
  });

  it('reuses a few connections for many e-mails', async function () {
    this.timeout(60_000);
    const before = mail.connections();
    const many = Array.from({ length: 400 }, () => customer());
    await Promise.all(many.map((each) => broker.publish(...each.created())));
    await eventually(
      () => {
        for (const each of many) expect(mail.to(each.email)).to.have.length(1);
      },
      { timeout: 40_000 },
    );
    expect(mail.connections() - before).to.be.at.most(16);
    expect(mail.open()).to.be.at.most(8);
  });
});
