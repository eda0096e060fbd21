import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from '@warren/chassis';
import { eventually, withBroker, withDatabase } from '@warren/testkit';
import { expect } from 'chai';
import type { EmailConfig } from '../src/config.ts';
import { CONNECTIONS, closeDelivery, deliver } from '../src/delivery.ts';
import { Connections } from '../src/smtp.ts';
import { customer } from './events.ts';
import { launchEmail } from './launch.ts';
import { type MailServer, type MailServerOptions, type Reply, startMailServer } from './mail-server.ts';

/** An answer that the mail server holds back, and when it was first asked for it. */
function held() {
  const { promise: asked, resolve: ask } = Promise.withResolvers<void>();
  const { promise: answer, resolve: give } = Promise.withResolvers<Reply | undefined>();
  const hold = () => {
    ask();
    return answer;
  };
  return { asked, hold, give: (reply?: Reply) => give(reply) };
}

describe('a mail server that is slow', () => {
  let mail: MailServer;
  const closing: (() => unknown)[] = [];

  const mailServer = async (options?: MailServerOptions) => {
    mail = await startMailServer(options);
    closing.push(() => mail.stop());
  };

  afterEach(async () => {
    for (const close of closing.splice(0).toReversed()) await close();
  });

  describe('with one e-mail', () => {
    const log = {} as Logger;

    /** What the tasks of one service do with one e-mail. */
    const email = (scheme = 'smtp') => {
      const url = `${mail.url.replace('smtp', scheme)}?tls.rejectUnauthorized=false`;
      const config = { SMTP_URL: url, MAIL_FROM: 'shop@warren.example' } as EmailConfig;
      closing.push(() => closeDelivery(config));
      const message = (name: string) => ({
        id: randomUUID(),
        to: { name, address: `${name}@example.com` },
        date: new Date(),
        template: 'welcome',
        subject: 'Welcome',
        text: 'Hello',
        html: '<p>Hello</p>',
      });
      const ada = message('ada');
      return {
        send: (signal = new AbortController().signal) => deliver(ada, { config, log, signal }),
        other: () => deliver(message('eve'), { config, log, signal: new AbortController().signal }),
      };
    };

    it('gets it once, for any number of concurrent tasks', async () => {
      const message = held();
      await mailServer({ onMessage: message.hold });
      const { send } = email();
      const first = send();
      await message.asked;
      const others = [send(), send()];
      message.give();
      expect(await Promise.all([first, ...others])).to.deep.equal([undefined, undefined, undefined]);
      expect(mail.offered).to.have.length(1);
      expect(mail.received).to.have.length(1);
    });

    it('gets it once when the task times out before the response: the next task gets the response', async () => {
      const message = held();
      await mailServer({ onMessage: message.hold });
      const { send } = email();
      const task = new AbortController();
      const first = send(task.signal);
      await message.asked;
      task.abort(new Error('the time of the task is over'));
      message.give();
      expect(await first).to.equal(undefined);
      expect(await send()).to.equal(undefined);
      expect(mail.offered).to.have.length(1);
      expect(mail.received).to.have.length(1);
    });

    const ways = {
      plain: { scheme: 'smtp', server: {} },
      smtps: { scheme: 'smtps', server: { secure: true, disabledCommands: ['AUTH'] } },
      STARTTLS: { scheme: 'smtp', server: { disabledCommands: ['AUTH'] } },
    };
    for (const [name, { scheme, server }] of Object.entries(ways))
      it(`delivers nothing later when the task times out before it has the message (${name})`, async () => {
        const recipient = held();
        await mailServer({ onRecipient: recipient.hold, server });
        const { send, other } = email(scheme);
        const task = new AbortController();
        const first = send(task.signal).catch((error) => error);
        await recipient.asked;
        expect(mail.open()).to.equal(1);
        task.abort(new Error('the time of the task is over'));
        expect(await first).to.have.property('message', 'the time of the task is over');
        await eventually(() => expect(mail.open()).to.equal(0));
        recipient.give();
        await other();
        expect(mail.received.map(({ to }) => to)).to.deep.equal([['eve@example.com']]);
        await send();
        expect(mail.to('ada@example.com')).to.have.length(1);
      });

    it('does not block other e-mails forever, because the number of connections is limited', async () => {
      const message = held();
      await mailServer({ onMessage: message.hold });
      const { send, other } = email();
      const sending = [send(), ...Array.from({ length: CONNECTIONS - 1 }, other)];
      await eventually(() => expect(mail.open()).to.equal(CONNECTIONS));
      const refused = await other().catch((error) => error);
      expect(refused.message).to.match(/all 8 connections to the mail server are in use/);
      message.give();
      await Promise.all(sending);
      await other();
      expect(mail.connections()).to.equal(CONNECTIONS);
    });
  });

  describe('beyond all limits', () => {
    const connections = (limits: { handOver: number; answer: number; idle: number }) => {
      const all = new Connections(mail.url, { connections: 1, ...limits });
      closing.push(() => all.close());
      return all;
    };
    const message = { from: 'shop@warren.example', to: 'ada@example.com', text: 'Hello' };
    const { signal } = new AbortController();

    it('loses the connection when it does not accept the message', async () => {
      const recipient = held();
      await mailServer({ onRecipient: recipient.hold });
      const error = await connections({ handOver: 300, answer: 60_000, idle: 60_000 })
        .send(message, signal)
        .catch((reason) => reason);
      expect(error.message).to.equal('the mail server did not accept the e-mail within 0.3 s');
      await eventually(() => expect(mail.open()).to.equal(0));
      recipient.give();
      expect(mail.received).to.have.length(0);
    });

    it('loses the connection when it never responds to the message', async () => {
      const answer = held();
      await mailServer({ onMessage: answer.hold });
      const error = await connections({ handOver: 60_000, answer: 300, idle: 60_000 })
        .send(message, signal)
        .catch((reason) => reason);
      expect(error.message).to.match(/did not respond to the e-mail within 0.3 s/);
      await eventually(() => expect(mail.open()).to.equal(0));
      answer.give();
    });

    it('may respond at any time within the limit, however slow it was before', async () => {
      await mailServer({ onMessage: () => delay(1_000, undefined) });
      await connections({ handOver: 500, answer: 60_000, idle: 60_000 }).send(message, signal);
      expect(mail.received).to.have.length(1);
    });

    it('sees an idle connection closed', async () => {
      await mailServer();
      const all = connections({ handOver: 60_000, answer: 60_000, idle: 300 });
      await all.send(message, signal);
      await all.send(message, signal);
      expect(mail.connections()).to.equal(1);
      await eventually(() => expect(mail.open()).to.equal(0));
      await all.send(message, signal);
      expect(mail.connections()).to.equal(2);
    });
  });

  describe('and the service', function () {
    this.timeout(120_000);
    const broker = withBroker({ services: ['email'] });
    const database = withDatabase();

    it('sends and records each e-mail once', async () => {
      const [everywhere, atTheEnd, atFirst] = [customer(), customer(), customer()];
      let asked = 0;
      await mailServer({
        // Longer than an attempt may take, but for the first time only.
        onRecipient: async (address) => {
          if (address === everywhere.email) await delay(12_000);
          if (address === atFirst.email && ++asked === 1) await delay(40_000);
          return undefined;
        },
        onMessage: async ({ to }) => {
          await delay(to.includes(everywhere.email) ? 12_000 : to.includes(atTheEnd.email) ? 25_000 : 0);
          return undefined;
        },
      });
      const email = await launchEmail({ broker, database, smtp: mail.url });
      closing.push(() => email.stop());
      for (const each of [everywhere, atTheEnd, atFirst]) await broker.publish(...each.created());
      await eventually(
        async () =>
          expect(await database.admin('select distinct status from emails')).to.deep.equal([
            { status: 'sent' },
          ]),
        { timeout: 80_000 },
      );
      for (const each of [everywhere, atTheEnd, atFirst]) expect(mail.to(each.email)).to.have.length(1);
      expect(asked).to.equal(2);
    });
  });
});
