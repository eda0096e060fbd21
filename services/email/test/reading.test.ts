import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { ConfigError, Joi, type RunningService, start } from '@warren/chassis';
import {
  client,
  eventually,
  freePorts,
  startProcess,
  withBroker,
  withDatabase,
  withReplicas,
} from '@warren/testkit';
import { expect } from 'chai';
import { config } from '../src/config.ts';
import { service } from '../src/service.ts';
import { customer } from './events.ts';

describe('without a mail server', () => {
  const broker = withBroker({ services: ['email'] });
  const database = withDatabase();
  const replicas = withReplicas((env) => start(service, env), { name: 'email', broker, database });
  let email: RunningService;
  let http: ReturnType<typeof client>;

  before(async () => {
    email = await replicas.start();
    http = client(email.url);
  });

  it('lists the e-mails of a user, oldest first, as sent', async () => {
    const ada = customer();
    await broker.publish(...ada.created());
    const list = (count: number) =>
      eventually(async () => {
        const { status, body } = await http.get(`/emails?userId=${ada.userId.toUpperCase()}`);
        expect(status).to.equal(200);
        expect(body.items.map((item: { status: string }) => item.status)).to.deep.equal(
          Array(count).fill('sent'),
        );
        return body.items;
      });
    await list(1);
    await broker.publish(...ada.ordered());
    await list(2);
    await broker.publish(...ada.confirmed());
    const items = await list(3);
    expect(items.map((item: { template: string }) => item.template)).to.deep.equal([
      'welcome',
      'order-received',
      'order-confirmed',
    ]);
    const page = await http.get(`/emails?userId=${ada.userId}&limit=2`);
    expect(page.body.items).to.deep.equal(items.slice(0, 2));
    const rest = await http.get(`/emails?userId=${ada.userId}&limit=2&after=${page.body.next}`);
    expect(rest.body).to.deep.equal({ items: items.slice(2), next: null });
    for (const query of [
      `userId=${ada.userId}&after=${randomUUID()}`,
      `userId=${randomUUID()}&after=${page.body.next}`,
    ]) {
      const refused = await http.get(`/emails?${query}`);
      expect([refused.status, refused.body.code], query).to.deep.equal([400, 'cursor_unknown']);
    }
    for (const item of items) {
      expect(item).to.have.all.keys('id', 'userId', 'to', 'template', 'subject', 'status', 'sentAt');
      expect(item).to.include({ userId: ada.userId, to: ada.email });
    }
  });

  it('publishes email.sent', async () => {
    const probe = await broker.probe('events', 'email.sent.v1');
    const ada = customer();
    await broker.publish(...ada.created());
    const [event] = await probe.waitFor(({ content }) => content.includes(ada.userId));
    expect(event?.body.data).to.include({ userId: ada.userId, template: 'welcome' });
  });

  it('returns an empty list for a user without e-mails', async () => {
    expect((await http.get(`/emails?userId=${randomUUID()}`)).body).to.deep.equal({ items: [], next: null });
  });

  for (const query of ['', '?userId=42', `?userId={${randomUUID()}}`, `?userId=${randomUUID()}&status=sent`])
    it(`refuses GET /emails${query.replace(/[\da-f]{8}-[\da-f-]+/, 'UUID')}, naming the field`, async () => {
      const { status, body } = await http.get(`/emails${query}`);
      expect(status).to.equal(400);
      expect(body.errors[0].path).to.equal(query.includes('status') ? 'status' : 'userId');
    });

  it('dead-letters an invalid message, and handles the next', async () => {
    const ada = customer();
    const [exchange, key, content, properties] = customer().created();
    const wrong = content.toString().replace(/"email":"[^"]*"/, '"email":"a@b.c\\r\\nBcc: d@e.f"');
    await broker.publish(exchange, key, wrong, properties);
    await broker.publish(...ada.created());
    const dead = await eventually(async () => {
      const [message] = await broker.get('email.user.created.dlq');
      return message ?? false;
    });
    expect(dead.content.toString()).to.equal(wrong);
    expect(dead.properties.headers?.['x-warren-reason']).to.equal('invalid_data');
    await eventually(async () =>
      expect((await http.get(`/emails?userId=${ada.userId}`)).body.items).to.have.length(1),
    );
  });

  it('exposes metrics of consumed events and pending e-mails', async () => {
    const { text } = await client(email.adminUrl).get('/metrics');
    for (const type of [
      'user.created',
      'order.created',
      'order.confirmed',
      'order.cancelled',
      'payment.refunded',
    ])
      expect(await broker.queueDepth(`email.${type}`)).to.equal(0);
    expect(text).to.match(/tasks_pending\{[^}]*kind="email.send"[^}]*\} \d+/);
    expect(text).to.match(/emails_refused_total\{[^}]*outcome="given_up"[^}]*\} 0/);
  });

  it('writes its e-mails to the log', async function () {
    this.timeout(30_000);
    const [port, adminPort] = await freePorts(2);
    await email.stop();
    const process = startProcess({
      cwd: fileURLToPath(new URL('..', import.meta.url)),
      env: {
        PORT: port,
        ADMIN_PORT: adminPort,
        AMQP_URL: broker.url('email'),
        DATABASE_URL: database.url,
      },
    });
    try {
      await process.ready();
      const ada = customer();
      await broker.publish(...ada.created());
      const line = await eventually(() => process.logs.find(({ to }) => to === ada.email) ?? false);
      expect(line).to.include({ template: 'welcome', subject: 'Welcome to Warren', level: line.level });
      expect(line.text).to.contain('Hello Ada Lovelace,');
      expect(line.msg).to.contain('SMTP_URL');
    } finally {
      await process.kill();
    }
  });
});

describe('the configuration of the mail server', () => {
  const given = {
    AMQP_URL: 'amqp://guest:guest@localhost',
    DATABASE_URL: 'postgres://warren@localhost/warren',
  };
  const refusals = {
    'MAIL_FROM: is required, e.g. shop@example.com': { SMTP_URL: 'smtp://localhost' },
    'SMTP_URL: must start with smtp:// or smtps://': {
      SMTP_URL: 'http://localhost',
      MAIL_FROM: 'a@example.com',
    },
    'MAIL_FROM: must be a valid email': {
      SMTP_URL: 'smtp://localhost',
      MAIL_FROM: 'a@example.com\r\nBcc: b@c.de',
    },
    'MAIL_FROM: must be a valid email, got "Shop <a@example.com>"': { MAIL_FROM: 'Shop <a@example.com>' },
    'SMTP_URI: did you mean SMTP_URL?': { SMTP_URI: 'smtp://localhost' },
  };
  for (const [sentence, env] of Object.entries(refusals))
    it(`is refused at the start: ${sentence}`, async () => {
      const error = await start(service, { ...given, ...env }).then(
        () => expect.fail('it started'),
        (reason) => reason,
      );
      expect(error.mistakes).to.have.length(1);
      expect(error.mistakes[0]).to.contain(sentence);
    });

  it('never shows the password of the mail server', async () => {
    const error = await start(service, { ...given, SMTP_URL: 'ftp://shop:hush@mail' }).catch(
      (reason) => reason,
    );
    expect(error.mistakes.join('\n')).to.contain('SMTP_URL').and.not.contain('hush');
  });

  const unusable = {
    'must contain a host': ['smtp://', 'smtps://', 'smtp://?requireTLS=true'],
    'must have a percent-encoded user name': [
      'smtp://shop:hush%@mail',
      'smtp://shop:hush%zz@mail',
      'smtp://shop%:hush@mail',
      'smtp://shop:hush%ff@mail',
    ],
    'must not have a path or a fragment': [
      'smtp://mail/hush',
      'smtp://shop:587/hush@mail',
      'smtp://shop:587#hush@mail',
    ],
    'may have only these options': [
      'smtp://shop:hush@mail?logger=true&debug=true',
      'smtp://shop:hush@mail?debug=true',
      'smtp://shop:hush@mail?requireTLS=true&maxConnections=100',
      'smtp://shop:hush@mail?requireTLS=perhaps',
      'smtp://shop:hush@mail?requireTLS=true&requireTLS=false',
      'smtp://shop:hush@mail?__proto__=true',
      'smtp://shop:587?hush@mail',
    ],
    'is not a valid URL': [
      'smtp://shop:hush@',
      'smtp://:587',
      'smtp://shop:hush@mail:port',
      'smtp://shop:pass#hush@mail',
    ],
  };
  for (const [sentence, urls] of Object.entries(unusable))
    for (const url of urls)
      it(`is refused at the start, and the password not shown: ${url} ${sentence}`, async () => {
        const error = await start(service, { ...given, SMTP_URL: url, MAIL_FROM: 'a@example.com' }).catch(
          (reason) => reason,
        );
        expect(error).to.be.instanceOf(ConfigError);
        expect(error.mistakes).to.have.length(1);
        expect(error.mistakes[0])
          .to.match(/^SMTP_URL: /)
          .and.contain(sentence);
        if (url.includes('@')) expect(error.message + error.mistakes[0]).to.not.contain('hush');
      });

  for (const url of [
    'smtp://mail',
    'smtp://mail:2525/',
    'SMTP://127.0.0.1:25',
    'smtp://[::1]:25',
    'smtps://shop%40example.com:p%25%23@mail:465?tls.rejectUnauthorized=false&tls.servername=mail.example.com',
    'smtp://mail?requireTLS=true&name=shop.example.com',
  ])
    it(`may be ${url}`, () => {
      const { error } = Joi.object(config).validate({ SMTP_URL: url, MAIL_FROM: 'a@example.com' });
      expect(error).to.equal(undefined);
    });
});
