import type { RunningService } from '@warren/chassis';
import { withBroker, withDatabase } from '@warren/testkit';
import { expect } from 'chai';
import fc from 'fast-check';
import { oneLine } from '../src/text.ts';
import { customer } from './events.ts';
import { launchEmail } from './launch.ts';
import { type MailServer, type Received, startMailServer } from './mail-server.ts';

describe('what users write into their names, addresses and products', () => {
  const broker = withBroker({ services: ['email'] });
  const database = withDatabase();
  let mail: MailServer;
  let email: RunningService;

  before(async () => {
    mail = await startMailServer({ server: { hideSMTPUTF8: false } });
    email = await launchEmail({ broker, database, smtp: mail.url });
  });
  after(async () => {
    await email?.stop();
    await mail?.stop();
  });

  const HEADERS = [
    'message-id',
    'date',
    'from',
    'to',
    'subject',
    'auto-submitted',
    'mime-version',
    'content-type',
  ];
  /** Header names as they stand in the message, each once; folded lines begin with a space. */
  const headerNames = ({ raw }: Received) =>
    raw
      .slice(0, raw.indexOf('\r\n\r\n'))
      .split('\r\n')
      .filter((line) => !/^[ \t]/.test(line))
      .map((line) => line.slice(0, line.indexOf(':')).toLowerCase());

  const names = [
    'Eve\r\nBcc: victim@example.com',
    'Eve\nSubject: you have won',
    'Eve\r\n\r\nA body of her own',
    'Eve\rX-Header: 1',
    'Eve, victim@example.com',
    'Eve <victim@example.com>',
    '"Eve" <victim@example.com>, "x',
    'Eve\\"; victim@example.com',
    'undisclosed: victim@example.com;',
    '=?utf-8?Q?Eve=0D=0ABcc:_victim@example.com?=',
    'Eve\u2028Bcc: victim@example.com',
    'Eve\u0000\u0085\u001b[31m',
    'Eve \ud800 lone',
    'Zoë Bücher 名前 👩‍🚀',
    'x'.repeat(200),
    '名'.repeat(200),
    '\u0000',
    '<script>alert(1)</script>',
  ];

  it('reaches no header, no envelope and no other mailbox', async function () {
    this.timeout(60_000);
    const noise = fc.sample(fc.string({ unit: 'binary', minLength: 1, maxLength: 100 }), 100);
    const hostile = [...names, ...noise.map((text) => text.slice(0, 200))];
    const customers = hostile.map((name) => ({ name, ...customer({ name }, { productName: name }) }));
    await Promise.all(
      customers.flatMap((each) => [broker.publish(...each.created()), broker.publish(...each.ordered())]),
    );

    for (const { name, email: address } of customers) {
      for (const message of await mail.waitFor(address, 2, 30_000)) {
        const about = JSON.stringify(name);
        expect(message.to, about).to.deep.equal([address]);
        expect(message.from, about).to.equal('shop@warren.example');
        expect(headerNames(message), about).to.have.members(HEADERS);
        const { to, subject } = message.mail;
        expect([to].flat().flatMap((each) => each?.value.map((one) => one.address))).to.deep.equal([address]);
        expect(subject, about).to.not.match(/[\r\n]/);
      }
    }
    expect(mail.received).to.have.length(2 * customers.length);
    expect(mail.offered.every((address) => customers.some((each) => each.email === address))).to.equal(true);
  });

  it('is escaped in HTML and only there', async () => {
    const eve = customer({ name: '<script>alert("x")</script> & Eve' });
    await broker.publish(...eve.created());
    const [{ raw, mail: message } = expect.fail()] = await mail.waitFor(eve.email);
    expect(message.html).to.contain('Hello &lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt; &amp; Eve,');
    expect(message.html).to.not.contain('<script');
    expect(message.text).to.contain('Hello <script>alert("x")</script> & Eve,');
    expect(raw).to.contain('Content-Type: text/html; charset=utf-8');
  });

  it('arrives as it was written, in every script', async () => {
    for (const name of ['Zoë Bücher', '名前 太郎', 'עדה', '👩‍🚀 Ada', `"Quoted", O'Brien \\ Sons`]) {
      const ada = customer({ name }, { productName: name });
      await broker.publish(...ada.created());
      await broker.publish(...ada.ordered());
      for (const { mail: message } of await mail.waitFor(ada.email, 2)) {
        expect(message.text).to.contain(`Hello ${name},`);
        expect([message.to].flat()[0]?.value[0]?.name).to.equal(name);
      }
    }
  });

  it('never becomes a link or a subject', async () => {
    const text = 'Click https://evil.example/x or www.evil.example';
    const eve = customer({ name: text }, { productName: text });
    for (const event of [eve.created(), eve.ordered(), eve.confirmed(), eve.cancelled(), eve.refunded()])
      await broker.publish(...event);
    for (const { raw, mail: message } of await mail.waitFor(eve.email, 5, 30_000)) {
      expect(raw, 'the header, too').to.not.match(/https?:\/\/evil|evil\.example/);
      for (const part of [message.text, message.html]) {
        expect(part).to.contain('Click https: //evil. example/x or www. evil. example');
        expect(part).to.not.match(/https?:\/\/evil|evil\.example|<a /);
      }
      expect(message.subject).to.not.contain('evil');
    }
  });

  it('has a greeting for a name that becomes empty', async () => {
    const nobody = customer({ name: '\u0000\u2028\r\n' });
    expect(oneLine('\u0000\u2028\r\n')).to.equal('');
    await broker.publish(...nobody.created());
    const [{ mail: message } = expect.fail()] = await mail.waitFor(nobody.email);
    expect(message.text).to.match(/^Hello there,\n/);
    expect([message.to].flat()[0]?.value).to.deep.equal([{ address: nobody.email, name: '' }]);
  });

  it('may be any address that a sign-up may have', async () => {
    const addresses = [
      "o'brien@example.com",
      'a+b%c@example.com',
      'x!y@example.com',
      '{|}~^`=?#$&*-/_@example.com',
      '=?utf-8?q?x?=@example.com',
      `${'l'.repeat(64)}@example.com`,
      'üser@example.com',
    ];
    for (const address of addresses) {
      const someone = customer({ email: address });
      await broker.publish(...someone.created());
      const [message = expect.fail()] = await mail.waitFor(address);
      expect(message.to).to.deep.equal([address]);
      expect(headerNames(message)).to.have.members(HEADERS);
    }
  });

  it('sends to a non-ASCII domain by its ASCII form', async () => {
    const someone = customer({ email: 'ada@exämple.com' });
    await broker.publish(...someone.created());
    const [{ raw } = expect.fail()] = await mail.waitFor('ada@exämple.com'); // the test server reads it back
    expect(raw).to.contain('<ada@xn--exmple-cua.com>');
  });
});
