import { readFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { fileURLToPath } from 'node:url';
import type { RunningService } from '@warren/chassis';
import {
  client,
  eventually,
  freePort,
  freePorts,
  type RunningProcess,
  startProcess,
  withBroker,
  withDatabase,
} from '@warren/testkit';
import { expect } from 'chai';
import { customer } from './events.ts';
import { launchEmail } from './launch.ts';
import { type MailServer, type MailServerOptions, Reply, startMailServer } from './mail-server.ts';

describe('a mail server that fails', function () {
  this.timeout(90_000);
  const broker = withBroker({ services: ['email'] });
  const database = withDatabase();
  const services: RunningService[] = [];
  const servers: MailServer[] = [];

  const mailServer = async (options?: MailServerOptions) => {
    const server = await startMailServer(options);
    servers.push(server);
    return server;
  };
  const environment = (smtp: string) => ({
    AMQP_URL: broker.url('email'),
    DATABASE_URL: database.url,
    SMTP_URL: smtp,
    MAIL_FROM: 'shop@warren.example',
  });
  const launch = async (smtp: string) => {
    const email = await launchEmail({ broker, database, smtp });
    services.push(email);
    return email;
  };
  const emailOf = async (userId: string) =>
    (
      await database.admin<{ id: string; status: string; refusal: string | null; refusals: number }>(
        'select id, status, refusal, refusals from emails where user_id = $1',
        [userId],
      )
    )[0];
  const sent = (userId: string) =>
    eventually(async () => expect(await emailOf(userId)).to.include({ status: 'sent' }), { timeout: 45_000 });
  const taskOf = async (userId: string) =>
    (
      await database.admin<{ attempts: number; last_error: string | null; due: number }>(
        `select attempts, last_error, extract(epoch from due_at - clock_timestamp())::float8 as due
         from warren.tasks where kind = 'email.send' and key = (select id::text from emails where user_id = $1)`,
        [userId],
      )
    )[0];
  const failed = (userId: string, error: RegExp) =>
    eventually(async () => expect((await taskOf(userId))?.last_error ?? '').to.match(error), {
      timeout: 20_000,
    });
  /** Does now what is due later. */
  const hurry = () => database.admin('update warren.tasks set due_at = now(), lease = null');
  const metrics = async (email: RunningService) => (await client(email.adminUrl).get('/metrics')).text;

  afterEach(async () => {
    await Promise.all(services.splice(0).map((email) => email.stop()));
    await Promise.all(servers.splice(0).map((server) => server.stop()));
    await database.admin('truncate emails, users, warren.tasks');
  });

  it('gets each e-mail once after it has recovered from an outage', async () => {
    const port = await freePort();
    const email = await launch(`smtp://127.0.0.1:${port}`);
    const customers = Array.from({ length: 20 }, () => customer());
    for (const each of customers) await broker.publish(...each.created());
    for (const each of customers) await failed(each.userId, /ECONNREFUSED/);
    expect(
      (await client(email.url).get(`/emails?userId=${customers[0]!.userId}`)).body.items[0].status,
    ).to.equal('pending');
    const mail = await mailServer({ port });
    for (const each of customers) await sent(each.userId);
    expect(mail.received).to.have.length(20);
    expect(new Set(mail.received.flatMap(({ to }) => to)).size).to.equal(20);
  });

  it('gets the next e-mail after it closed its connections', async () => {
    const port = await freePort();
    const first = await mailServer({ port });
    await launch(first.url);
    const ada = customer();
    await broker.publish(...ada.created());
    await sent(ada.userId);
    await first.stop();
    const second = await mailServer({ port });
    const eve = customer();
    await broker.publish(...eve.created());
    await sent(eve.userId);
    expect(second.to(eve.email)).to.have.length(1);
  });

  it('gets the next e-mail after idle connections were closed', async () => {
    const mail = await mailServer();
    await launch(mail.url);
    const [ada, eve] = [customer(), customer()];
    await broker.publish(...ada.created());
    await sent(ada.userId);
    expect(mail.open()).to.be.above(0);
    await eventually(() => expect(mail.open()).to.equal(0), { timeout: 25_000 });
    await broker.publish(...eve.created());
    await sent(eve.userId);
    expect(mail.received).to.have.length(2);
  });

  it('does not block the service when it never responds: the attempt times out and is retried', async () => {
    const sockets = new Set<import('node:net').Socket>();
    const port = await freePort();
    const silent: Server = createServer((socket) => {
      sockets.add(socket);
      socket.on('error', () => {});
    });
    await new Promise<void>((resolve) => silent.listen(port, '127.0.0.1', resolve));
    await launch(`smtp://127.0.0.1:${port}`);
    const ada = customer();
    await broker.publish(...ada.created());
    await failed(ada.userId, /Greeting never received/);
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => silent.close(resolve));
    await mailServer({ port });
    await sent(ada.userId);
  });

  for (const at of ['recipient', 'message'] as const)
    it(`gets a retry soon after a temporary refusal of the ${at}`, async () => {
      let asked = 0;
      const later = () => (++asked === 1 ? new Reply(451, 'try again later') : undefined);
      const mail = await mailServer(at === 'recipient' ? { onRecipient: later } : { onMessage: later });
      await launch(mail.url);
      const ada = customer();
      await broker.publish(...ada.created());
      await failed(ada.userId, /451.*try again later/);
      await sent(ada.userId);
      expect(asked).to.equal(2);
      expect(mail.received).to.have.length(1);
      expect(await emailOf(ada.userId)).to.include({ refusals: 0, refusal: null });
    });

  for (const at of ['recipient', 'message'] as const)
    it(`gets a retry much later after a permanent refusal of the ${at}, without delaying other e-mails`, async () => {
      const nobody = customer();
      let will = false;
      const no = () => (will ? undefined : new Reply(550, 'no such user here'));
      const mail = await mailServer(
        at === 'recipient'
          ? { onRecipient: (address) => (address === nobody.email ? no() : undefined) }
          : { onMessage: ({ to }) => (to.includes(nobody.email) ? no() : undefined) },
      );
      const email = await launch(mail.url);
      await broker.publish(...nobody.created());
      await eventually(async () => expect(await emailOf(nobody.userId)).to.include({ refusals: 1 }));
      expect((await emailOf(nobody.userId))?.refusal).to.match(/550.*no such user here/);
      expect((await taskOf(nobody.userId))?.due).to.be.within(50, 60);
      expect(await metrics(email)).to.match(/emails_refused_total\{[^}]*outcome="again"[^}]*\} 1\b/);

      const ada = customer();
      await broker.publish(...ada.created());
      await sent(ada.userId);
      expect(mail.offered.filter((address) => address === nobody.email)).to.have.length(1);
      const listed = (await client(email.url).get(`/emails?userId=${nobody.userId}`)).body.items;
      expect(listed[0]).to.include({ status: 'pending', to: nobody.email }).and.not.have.property('refusal');

      will = true;
      await hurry();
      await sent(nobody.userId);
      expect(mail.to(nobody.email)).to.have.length(1);
    });

  it('gets eight attempts for a permanently refused e-mail, and no more', async () => {
    const mail = await mailServer({ onRecipient: () => new Reply(550, 'no such user here') });
    const email = await launch(mail.url);
    const nobody = customer();
    await broker.publish(...nobody.created());
    for (let refusals = 1; refusals <= 8; refusals += 1) {
      await eventually(async () => expect(await emailOf(nobody.userId)).to.include({ refusals }));
      await hurry();
    }
    expect(await taskOf(nobody.userId)).to.equal(undefined);
    expect(await emailOf(nobody.userId)).to.include({ status: 'failed' });
    expect(mail.offered).to.have.length(8);
    expect(await metrics(email)).to.match(/emails_refused_total\{[^}]*outcome="given_up"[^}]*\} 1\b/);
  });

  it('gets a failed e-mail again with the statement in the README', async () => {
    let will = false;
    const mail = await mailServer({
      onRecipient: () => (will ? undefined : new Reply(550, 'no such user here')),
    });
    await launch(mail.url);
    const ada = customer();
    await broker.publish(...ada.created());
    await eventually(async () => expect(await emailOf(ada.userId)).to.include({ refusals: 1 }));
    await database.admin('update emails set refusals = 7');
    await hurry();
    await eventually(async () => expect(await emailOf(ada.userId)).to.include({ status: 'failed' }));
    will = true;
    const readme = await readFile(new URL('../README.md', import.meta.url), 'utf8');
    await database.admin(/```sql\n([^`]*)```/.exec(readme)?.[1] as string);
    await sent(ada.userId);
  });

  for (const [name, disabledCommands] of Object.entries({
    'no TLS': ['AUTH', 'STARTTLS'],
    STARTTLS: ['AUTH'],
  }))
    it(`that does not offer SMTPUTF8 gets no e-mail to a non-ASCII local part, which fails at once (${name})`, async () => {
      const mail = await mailServer({ server: { hideSMTPUTF8: true, disabledCommands } });
      const [port, adminPort] = await freePorts(2);
      const email = startProcess({
        cwd: fileURLToPath(new URL('..', import.meta.url)),
        env: {
          PORT: port,
          ADMIN_PORT: adminPort,
          ...environment(`${mail.url}?tls.rejectUnauthorized=false`),
        },
      });
      try {
        await email.ready();
        const [umlaut, ada] = [
          customer({ email: 'üser@exämple.com' }),
          customer({ email: 'ada@exämple.com' }),
        ];
        for (const each of [umlaut, ada]) await broker.publish(...each.created());
        await eventually(async () => expect(await emailOf(umlaut.userId)).to.include({ status: 'failed' }));
        await sent(ada.userId);
        expect(await emailOf(umlaut.userId)).to.include({ refusals: 1 });
        expect((await emailOf(umlaut.userId))?.refusal).to.contain('SMTPUTF8');
        expect(await taskOf(umlaut.userId)).to.equal(undefined);
        expect(mail.received).to.have.length(1);
        expect(mail.offered).to.have.length(1);
        const { body } = await client(`http://127.0.0.1:${port}`).get(`/emails?userId=${umlaut.userId}`);
        expect(body.items[0])
          .to.include({ status: 'failed', to: umlaut.email })
          .and.not.have.property('sentAt');
        const line = email.logs.find(({ code }) => code === 'email_given_up');
        expect(line).to.include({ level: 'error', refusal: (await emailOf(umlaut.userId))?.refusal });
        expect(JSON.stringify(line)).to.not.contain('üser');
        expect(email.logs.filter(({ code }) => code === 'email_refused')).to.deep.equal([]);
      } finally {
        await email.kill();
      }
    });

  it('that offers SMTPUTF8 gets it only for a non-ASCII local part', async () => {
    const asked: boolean[] = [];
    const mail = await mailServer({
      server: {
        onMailFrom: ({ args }, _session, callback) => {
          asked.push('SMTPUTF8' in Object(args));
          callback();
        },
      },
    });
    await launch(mail.url);
    for (const address of ['üser@exämple.com', 'ada@exämple.com']) {
      const each = customer({ email: address });
      await broker.publish(...each.created());
      await sent(each.userId);
    }
    expect(asked).to.deep.equal([true, false]);
    expect(mail.received).to.have.length(2);
  });

  it('that refuses the login does not fail any e-mail', async () => {
    const mail = await mailServer({
      server: {
        disabledCommands: ['STARTTLS'],
        onAuth: (_auth, _session, callback) => callback(new Reply(535, 'wrong password')),
      },
    });
    await launch(mail.url.replace('//', '//shop:secret@'));
    const ada = customer();
    await broker.publish(...ada.created());
    await failed(ada.userId, /535.*wrong password/);
    expect(await emailOf(ada.userId)).to.include({ status: 'pending', refusals: 0 });
  });

  for (const [name, secure] of Object.entries({ smtps: true, STARTTLS: false }))
    it(`that speaks TLS (${name}) gets e-mails over it, unless its certificate is not trusted`, async () => {
      const secured: boolean[] = [];
      const mail = await mailServer({
        server: {
          secure,
          disabledCommands: ['AUTH'],
          onMailFrom: (_address, session, callback) => {
            secured.push(session.secure);
            callback();
          },
        },
      });
      const url = secure ? mail.url.replace('smtp:', 'smtps:') : mail.url;
      const doubtful = await launch(url);
      const ada = customer();
      await broker.publish(...ada.created());
      await failed(ada.userId, /certificate/);
      await doubtful.stop();
      expect(mail.received).to.have.length(0);
      await launch(`${url}?tls.rejectUnauthorized=false`);
      await sent(ada.userId);
      expect(secured).to.deep.equal([true]);
    });

  it('that is slow with one e-mail does not delay the others', async () => {
    const slow = customer();
    const answer = Promise.withResolvers<undefined>();
    const mail = await mailServer({
      onMessage: ({ to }) => (to.includes(slow.email) ? answer.promise : undefined),
    });
    await launch(mail.url);
    await broker.publish(...slow.created());
    await eventually(() => expect(mail.offered).to.include(slow.email));
    const others = Array.from({ length: 20 }, () => customer());
    for (const each of others) await broker.publish(...each.created());
    for (const each of others) await sent(each.userId);
    expect(await emailOf(slow.userId)).to.include({ status: 'pending' });
    answer.resolve(undefined);
    await sent(slow.userId);
    expect(mail.to(slow.email)).to.have.length(1);
  });

  it('gets each e-mail at most twice, with one Message-ID, when the service is killed while sending', async () => {
    let process: RunningProcess | undefined;
    let taken = 0;
    const mail = await mailServer({
      // It has the tenth e-mail whole, and the service will never know.
      async onMessage() {
        taken += 1;
        if (taken === 10) await process?.kill('SIGKILL');
        return undefined;
      },
    });
    const run = async () => {
      const [port, adminPort] = await freePorts(2);
      return startProcess({
        cwd: fileURLToPath(new URL('..', import.meta.url)),
        env: { PORT: port, ADMIN_PORT: adminPort, ...environment(mail.url) },
      });
    };
    process = await run();
    await process.ready();
    const customers = Array.from({ length: 40 }, () => customer());
    await Promise.all(customers.map((each) => broker.publish(...each.created())));
    await process.ended;
    const [left] = await database.admin<{ n: number }>(
      `select count(*)::int as n from emails where status = 'pending'`,
    );
    expect(left?.n, 'e-mails still to be sent').to.be.above(0);

    await hurry(); // the leases of a process that is gone
    process = await run();
    await process.ready();
    for (const each of customers) await sent(each.userId);
    const repeats = customers.map(({ email }) => {
      const all = mail.to(email);
      expect(all.length, email).to.be.within(1, 2);
      expect(new Set(all.map((each) => each.mail.messageId)).size).to.equal(1);
      expect(new Set(all.map((each) => each.mail.date?.getTime())).size).to.equal(1);
      return all.length - 1;
    });
    const repeated = repeats.reduce((sum, each) => sum + each, 0);
    expect(repeated).to.be.within(1, 8);
    expect(await process.kill()).to.equal(0);
  });

  it('sees its connections closed when the service stops', async () => {
    const mail = await mailServer();
    const email = await launch(mail.url);
    const ada = customer();
    await broker.publish(...ada.created());
    await sent(ada.userId);
    expect(mail.open()).to.be.above(0);
    expect(await email.stop()).to.equal(true);
    await eventually(() => expect(mail.open()).to.equal(0), { timeout: 5_000 });
  });
});
