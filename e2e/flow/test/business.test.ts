import { eventually } from '@warren/testkit';
import { expect } from 'chai';
import {
  createClient,
  everyService,
  type Name,
  orderOnce,
  type Placed,
  type Replica,
  type SignUp,
  signUpOnce,
  withSystem,
} from '../../support/src/index.ts';

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4737';
const NOBODY = '00000000-0000-7000-8000-000000000000';

describe('the whole business, through the gateway', () => {
  const system = withSystem({ services: everyService, mail: true, auth: true });
  const client = createClient(system.authorize);
  let replicas: Record<Name, Replica>;
  let door: string;

  before('the services', async function () {
    this.timeout(90_000);
    replicas = await system.runAll();
    door = replicas.gateway.url;
  });
  after(() => client.close());

  const get = async (path: string) => (await client.send('GET', `${door}${path}`)).body;
  const itemsOf = async (path: string) => (await get(path)).items;
  const signUp = async (id: string, options: { path?: string; headers?: Record<string, string> } = {}) =>
    (await signUpOnce(client, system.ledger, door, { id, key: id, ...options })) as Required<SignUp>;
  const place = async (id: string, content: Placed['content'], headers?: Record<string, string>) =>
    (await orderOnce(client, system.orders, door, {
      id,
      content,
      ...(headers && { headers }),
    })) as Required<Placed>;
  /** What is sent to a user, by template, when there is this much of it. */
  const emailsTo = (userId: string, templates: string[]) =>
    eventually(async () => {
      const emails = await itemsOf(`/emails?userId=${userId}`);
      const sent = emails.filter(({ status }: { status: string }) => status === 'sent');
      expect(sent.map(({ template }: { template: string }) => template).sort()).to.deep.equal(
        templates.sort(),
      );
      return emails;
    });

  for (const path of ['/users', '/users/save', '/create_user']) {
    it(`POST ${path} ends in a session, a welcome order that is paid, and e-mails`, async () => {
      const { user, attempts } = await signUp(`ada${path.replaceAll('/', '-')}`, { path });
      expect(attempts[0]?.answer?.status).to.equal(201);
      expect(await get(attempts[0]?.answer?.headers.location as string)).to.deep.equal(user);

      const emails = await emailsTo(user.id, ['welcome', 'order-received', 'order-confirmed']);
      const [session, ...more] = await itemsOf(`/sessions?userId=${user.id}`);
      expect(session).to.include({ userId: user.id, status: 'active' });
      expect(more).to.deep.equal([]);
      const [order, ...others] = await itemsOf(`/orders?userId=${user.id}`);
      expect(order).to.include({ productName: 'Welcome kit', price: 1, currency: 'EUR', status: 'paid' });
      expect(others).to.deep.equal([]);
      const [payment, ...second] = await itemsOf(`/payments?orderId=${order.orderId}`);
      expect(payment).to.include({ userId: user.id, amount: 1, currency: 'EUR', status: 'processed' });
      expect(second).to.deep.equal([]);
      expect(await get(`/orders/${order.orderId}`)).to.deep.equal(order);
      expect(await get(`/payments/${payment.id}`)).to.deep.equal(payment);
      for (const email of emails) expect(email.to).to.equal(user.email);
    });
  }

  it('the welcome e-mail arrives at the mail server, under a Message-ID made of its id', async () => {
    const { user } = await signUp('mail');
    const emails = await emailsTo(user.id, ['welcome', 'order-received', 'order-confirmed']);
    const welcome = emails.find(({ template }: { template: string }) => template === 'welcome');
    const mails = system.mailbox?.mails.filter(({ to }) => to === user.email) ?? [];
    expect(mails).to.have.length(3);
    const mail = mails.find(({ subject }) => subject === welcome.subject);
    expect(mail?.messageId).to.equal(`<${welcome.id}@example.com>`);
    expect(mail?.source).to.contain(`Hello ${user.name}`);
    expect(mail?.source).to.match(/^content-type: multipart\/alternative/im);
  });

  it('an order within the limit is paid; one above it is cancelled again, and keeps no money', async () => {
    const { user } = await signUp('customer');
    await emailsTo(user.id, ['welcome', 'order-received', 'order-confirmed']);
    const userId = user.id;
    const cheap = await place('cheap', { userId, productName: 'Lamp', price: 1_000, currency: 'GBP' });
    const dear = await place('dear', { userId, productName: 'Piano', price: 1_000.01, currency: 'USD' });
    expect(cheap.attempts.at(-1)?.answer?.status).to.equal(201);
    expect(cheap.order).to.include({ userId, price: 1_000, currency: 'GBP', status: 'pending' });

    await emailsTo(userId, [
      'welcome',
      ...['order-received', 'order-received', 'order-received'],
      ...['order-confirmed', 'order-confirmed', 'order-cancelled'],
    ]);
    expect((await get(`/orders/${cheap.order.orderId}`)).status).to.equal('paid');
    expect((await get(`/orders/${dear.order.orderId}`)).status).to.equal('cancelled');
    const [paid] = await itemsOf(`/payments?orderId=${cheap.order.orderId}`);
    expect(paid).to.include({ amount: 1_000, currency: 'GBP', status: 'processed' });
    const [refused] = await itemsOf(`/payments?orderId=${dear.order.orderId}`);
    expect(refused).to.include({ amount: 1_000.01, status: 'failed', reason: 'limit_exceeded' });
  });

  it('an order that is repeated, by its key or by its id, is placed once; one for an unknown user is refused', async () => {
    const { user } = await signUp('again');
    const content = { userId: user.id, productName: 'Chair', price: 10.5, orderId: crypto.randomUUID() };
    const { order, key } = await place('again', content);
    expect(order.orderId).to.equal(content.orderId);
    const send = (body: object, headers = {}) => client.send('POST', `${door}/orders`, { body, headers });

    const byKey = await send(content, { 'idempotency-key': key });
    expect(byKey).to.deep.include({ status: 201, body: order });
    expect(byKey.headers['idempotency-replayed']).to.equal('true');
    const byId = await send(content);
    expect(byId.status).to.equal(200);
    expect(byId.body).to.include({ orderId: order.orderId, price: 10.5 });
    expect((await send({ ...content, price: 11 })).status, 'another order under its id').to.equal(409);
    const unknown = await send({ ...content, orderId: undefined, userId: NOBODY });
    expect(unknown).to.deep.include({ status: 404 });
    expect(unknown.body.code).to.equal('user_unknown');
    expect(unknown.headers['retry-after']).to.equal('1');
  });

  it('a sign-up and an order each have one correlation id and one trace across all services', async () => {
    const probe = await system.broker.probe('events');
    const headers = (id: string) => ({
      'x-correlation-id': id,
      traceparent: `00-${TRACE}-00f067aa0ba902b7-01`,
    });
    const { user, attempts } = await signUp('traced', { headers: headers('sign-up-7') });
    expect(attempts[0]?.answer?.headers['x-correlation-id']).to.equal('sign-up-7');
    await emailsTo(user.id, ['welcome', 'order-received', 'order-confirmed']);
    await place('traced', { userId: user.id, productName: 'Boat', price: 5_000 }, headers('order-7'));
    await emailsTo(user.id, [
      ...['welcome', 'order-received', 'order-confirmed'],
      ...['order-received', 'order-cancelled'],
    ]);

    const typesOf = (id: string) =>
      probe.events.filter(({ body }) => body.correlationid === id).map(({ body }) => body.type);
    await eventually(() => {
      expect(typesOf('sign-up-7').sort()).to.deep.equal([
        ...['email.sent', 'email.sent', 'email.sent', 'order.confirmed', 'order.created'],
        ...['payment.processed', 'session.opened', 'user.created'],
      ]);
      expect(typesOf('order-7').sort()).to.deep.equal([
        ...['email.sent', 'email.sent', 'order.cancelled', 'order.created', 'payment.failed'],
      ]);
    });
    await probe.close();
    for (const { body, properties } of probe.events.filter(({ body }) =>
      /^(sign-up|order)-7$/.test(body.correlationid),
    )) {
      expect(body.traceparent, `traceparent of ${body.type}`).to.match(
        new RegExp(`^00-${TRACE}-[0-9a-f]{16}-01$`),
      );
      expect(properties.correlationId).to.equal(body.correlationid);
    }
    for (const service of ['gateway', 'order'] as const)
      await eventually(() => {
        const line = replicas[service].process.logs.find(({ correlationId }) => correlationId === 'order-7');
        expect(line?.traceId, `traceId in the log of ${service}`).to.equal(TRACE);
      });
  });

  it('the overview contains parts of all services', async () => {
    const { user } = await signUp('overview');
    await emailsTo(user.id, ['welcome', 'order-received', 'order-confirmed']);
    const overview = await client.send('GET', `${door}/overview/${user.id}`);
    expect(overview.status).to.equal(200);
    expect(overview.body).to.deep.equal({
      user,
      sessions: await itemsOf(`/sessions?userId=${user.id}`),
      orders: await itemsOf(`/orders?userId=${user.id}`),
      payments: await itemsOf(`/payments?userId=${user.id}`),
      missing: [],
    });
  });

  it('the overview of an unknown user is 404', async () => {
    expect((await client.send('GET', `${door}/overview/${NOBODY}`)).status).to.equal(404);
  });

  it('the overview lists the part of a stopped service as missing; requests to that service return 502', async () => {
    const { user } = system.ledger[0] as Required<SignUp>;
    await replicas.payment.end();
    const begun = performance.now();
    const { status, body } = await client.send('GET', `${door}/overview/${user.id}`);
    expect(performance.now() - begun).to.be.below(10_000);
    expect(status).to.equal(200);
    expect(body.missing).to.deep.equal(['payments']);
    expect(body.orders).to.have.length(1);
    expect((await client.send('GET', `${door}/payments?userId=${user.id}`)).status).to.equal(502);

    replicas.payment.start();
    await replicas.payment.ready();
    await eventually(async () => {
      expect((await get(`/overview/${user.id}`)).missing).to.deep.equal([]);
    });
  });

  it('passes the audit after the services have stopped', async function () {
    this.timeout(60_000);
    await system.accounts({ end: true });
  });

  describe('fails the audit', () => {
    const complaint = () =>
      system.accounts({ timeout: 200 }).then(
        () => 'no complaint',
        (error: Error) => error.message,
      );
    const sql = system.sql;

    for (const [what, service, statement, words] of [
      [
        'an order that hangs',
        'order',
        "update orders set status = 'pending', reason = null",
        /^pending orders/,
      ],
      ['an order without a payment', 'payment', 'delete from payments', /^payments: expected/],
      [
        'a cancelled order that was charged',
        'payment',
        "update simulator.books set outcome = 'accepted', reason = null where outcome = 'declined'",
        /^money/,
      ],
      [
        'money that went back for a paid order',
        'payment',
        "insert into simulator.books select 'x' || key, 'refund', reference, amount, currency, 'accepted', null, key from simulator.books where outcome = 'accepted' limit 1",
        /^money/,
      ],
      [
        'an order that should have been paid',
        'order',
        "update orders set status = 'cancelled', reason = 'x' where status = 'paid'",
        /^payments that do not fit/,
      ],
      ['a welcome order that is none', 'order', 'update orders set welcome = false', /^welcome orders/],
      [
        'an e-mail that was not sent',
        'email',
        "update emails set status = 'pending', sent_at = null",
        /^e-mails not sent/,
      ],
      [
        'an e-mail that nobody wrote',
        'email',
        "delete from emails where template = 'welcome'",
        /^e-mails: expected/,
      ],
      [
        'an e-mail to somebody else',
        'email',
        "update emails set recipient = 'eve@example.com'",
        /^e-mails to the address/,
      ],
      [
        'a task that is left',
        'payment',
        "insert into warren.tasks (kind, key, correlation_id) values ('payment.charge', 'x', 'x')",
        /^tasks of payment/,
      ],
      [
        'an event that was never consumed',
        'payment',
        "delete from warren.inbox where consumer = 'payment.order.created'",
        /^messages of payment.order.created/,
      ],
    ] as const) {
      it(what, async () => {
        const tables = {
          order: ['orders'],
          payment: ['payments', 'simulator.books', 'warren.inbox', 'warren.tasks'],
          email: ['emails'],
        }[service];
        for (const table of tables)
          await sql(service, `create table "before ${table}" as select * from ${table}`);
        await sql(service, statement);
        const found = await complaint();
        for (const table of [...tables].reverse()) await sql(service, `truncate ${table} cascade`);
        for (const table of tables) {
          await sql(
            service,
            `insert into ${table} ${table === 'warren.tasks' ? 'overriding system value' : ''} select * from "before ${table}"`,
          );
          await sql(service, `drop table "before ${table}"`);
        }
        expect(found).to.match(words);
        expect(await complaint()).to.equal('no complaint');
      });
    }

    it('an e-mail under a second Message-ID', async () => {
      const { mails } = system.mailbox as NonNullable<typeof system.mailbox>;
      mails.push({ ...(mails[0] as (typeof mails)[0]), messageId: '<another@example.com>' });
      expect(await complaint()).to.match(/^Message-IDs/);
      mails.pop();
    });

    it('an order that nobody placed, and one that was lost', async () => {
      const lost = system.orders.pop() as Placed;
      expect(await complaint()).to.match(/^orders: expected/);
      system.orders.push(lost, { ...lost, content: { ...lost.content, orderId: NOBODY } });
      expect(await complaint()).to.match(/^orders: expected/);
      system.orders.pop();
    });
  });
});
