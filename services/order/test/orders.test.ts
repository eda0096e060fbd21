import { randomUUID } from 'node:crypto';
import { type Order, orderCreated } from '@warren/contracts';
import { parseEvent } from '@warren/events';
import { client, eventually } from '@warren/testkit';
import { expect } from 'chai';
import { payment, signUpOf, withOrders } from './support.ts';

describe('placing orders', () => {
  const orders = withOrders();
  let userId: string;

  const post = (body: object, headers?: Record<string, string>) =>
    orders.http().post('/orders', { userId, productName: 'A book', price: 12.5, ...body }, headers);

  before(async () => {
    await orders.start();
    userId = await orders.signUp();
  });

  it('returns 201 with the pending order and its location', async () => {
    const answer = await post({ productName: '  Größe 42 – 靴 ', price: 19.99, currency: 'USD' });
    expect(answer.status).to.equal(201);
    const { orderId, createdAt, ...rest } = answer.body as Order;
    expect(rest).to.deep.equal({
      userId,
      productName: 'Größe 42 – 靴',
      price: 19.99,
      currency: 'USD',
      status: 'pending',
    });
    expect(Date.now() - Date.parse(createdAt)).to.be.within(0, 10_000);
    expect(answer.headers.get('location')).to.equal(`/orders/${orderId}`);
    expect((await orders.http().get(`/orders/${orderId}`)).body).to.deep.equal(answer.body);
  });

  it('publishes order.created with the correlation id of the request', async () => {
    const { body } = await post({}, { 'x-correlation-id': 'an-order-of-mine' });
    const [message] = await orders.probe.waitFor((event) => event.body.subject === body.orderId);
    const event = parseEvent(message!.content, [orderCreated]);
    const { status, createdAt, ...facts } = body;
    expect(event.data).to.deep.equal(facts);
    expect(event).to.include({ source: '/order', correlationid: 'an-order-of-mine' });
  });

  it('uses EUR when no currency is given', async () => {
    expect((await post({})).body.currency).to.equal('EUR');
  });

  for (const [price, minorUnits] of [
    [0, 0],
    [0.01, 1],
    [0.29, 29],
    [1.1, 110],
    [9_999_999.99, 999_999_999],
  ] as const)
    it(`accepts a price of ${price}, and stores it as ${minorUnits} minor units`, async () => {
      const { status, body } = await post({ price });
      expect(status).to.equal(201);
      expect(body.price).to.equal(price);
      expect(await orders.row(body.orderId)).to.include({ price: minorUnits });
      const [message] = await orders.probe.waitFor((event) => event.body.subject === body.orderId);
      expect(message!.body.data.price).to.equal(price);
    });

  for (const [field, value] of [
    ['price', 0.001],
    ['price', -0.01],
    ['price', 10_000_000],
    ['price', 1e300],
    ['price', '12.50'],
    ['price', null],
    ['price', undefined],
    ['currency', 'eur'],
    ['currency', 'CHF'],
    ['productName', ''],
    ['productName', '   '],
    ['productName', 'x'.repeat(201)],
    ['productName', 'line\nbreak'],
    ['productName', undefined],
    ['userId', '42'],
    ['userId', undefined],
    ['orderId', '42'],
    ['orderId', null],
    ['status', 'paid'],
  ] as const)
    it(`refuses ${field}: ${JSON.stringify(value)?.slice(0, 20) ?? 'none'}, naming the field`, async () => {
      const { status, headers, body } = await post({ [field]: value });
      expect(status).to.equal(400);
      expect(headers.get('content-type')).to.contain('application/problem+json');
      expect(body.errors.map(({ path }: { path: string }) => path)).to.deep.equal([field]);
    });

  describe('for an unknown user', () => {
    it('returns 404 with Retry-After, and stores nothing', async () => {
      const orderId = randomUUID();
      const stranger = signUpOf();
      const answer = await post({ userId: stranger.userId, orderId });
      expect(answer.status).to.equal(404);
      expect(answer.body).to.include({ code: 'user_unknown', status: 404 });
      expect(answer.headers.get('retry-after')).to.equal('1');
      expect(await orders.row(orderId)).to.equal(undefined);
    });

    it('succeeds after the sign-up has arrived, with the same orderId and Idempotency-Key', async () => {
      const stranger = signUpOf();
      const wanted = { userId: stranger.userId, orderId: randomUUID() };
      const key = { 'idempotency-key': randomUUID() };
      expect((await post(wanted, key)).status).to.equal(404);
      await orders.deliver(stranger);
      expect((await post(wanted, key)).status).to.equal(201);
    });
  });

  describe('with an orderId of the client', () => {
    it('places the order once: a repeat with the same content returns it', async () => {
      const wanted = { orderId: randomUUID(), price: 3.2 };
      const first = await post(wanted);
      expect(first.status).to.equal(201);
      expect(first.body.orderId).to.equal(wanted.orderId);
      for (const again of [wanted, { ...wanted, currency: 'EUR' }, { ...wanted, productName: ' A book ' }]) {
        const repeat = await post(again);
        expect(repeat.status).to.equal(200);
        expect(repeat.body).to.deep.equal(first.body);
        expect(repeat.headers.get('location')).to.equal(`/orders/${wanted.orderId}`);
      }
      expect(await orders.told(wanted.orderId)).to.deep.equal(['order.created']);
    });

    it('is one order in any case of the id', async () => {
      const orderId = randomUUID();
      const first = await post({ orderId: orderId.toUpperCase() });
      expect(first.body.orderId).to.equal(orderId);
      expect((await post({ orderId, userId: userId.toUpperCase() })).status).to.equal(200);
    });

    it('returns the current status of the order on a repeat', async () => {
      const wanted = { orderId: randomUUID() };
      const { body } = await post(wanted);
      await orders.deliver(payment.processed(body));
      expect((await post(wanted)).body).to.deep.equal({ ...body, status: 'paid' });
    });

    it('returns 409 for different content, and does not change the order', async () => {
      const orderId = randomUUID();
      const { body } = await post({ orderId });
      const other = await orders.signUp();
      for (const change of [
        { userId: other },
        { productName: 'Another book' },
        { price: 12.51 },
        { currency: 'USD' },
      ]) {
        const answer = await post({ orderId, ...change });
        expect(answer.status).to.equal(409);
        expect(answer.body.code).to.equal('order_id_taken');
        expect(answer.body).not.to.have.property('orderId');
      }
      expect(await orders.orderOf(orderId)).to.deep.equal(body);
    });

    it('places one order for concurrent requests', async () => {
      for (let round = 0; round < 5; round += 1) {
        const wanted = { orderId: randomUUID() };
        const answers = await Promise.all(Array.from({ length: 12 }, () => post(wanted)));
        expect(answers.map(({ status }) => status).sort()).to.deep.equal([...Array(11).fill(200), 201]);
        for (const { body } of answers) expect(body).to.deep.equal(answers[0]!.body);
        expect(await orders.told(wanted.orderId)).to.deep.equal(['order.created']);
      }
    });

    it('places one of two concurrent orders with different content', async () => {
      for (let round = 0; round < 5; round += 1) {
        const orderId = randomUUID();
        const answers = await Promise.all([post({ orderId, price: 1 }), post({ orderId, price: 2 })]);
        expect(answers.map(({ status }) => status).sort()).to.deep.equal([201, 409]);
        const won = answers.find(({ status }) => status === 201);
        expect(await orders.orderOf(orderId)).to.deep.equal(won!.body);
      }
    });
  });

  describe('with an Idempotency-Key', () => {
    it('places one order, and returns the same response to repeats', async () => {
      const key = { 'idempotency-key': randomUUID() };
      const answers = [await post({}, key), ...(await Promise.all([post({}, key), post({}, key)]))];
      for (const { status, body } of answers) {
        expect(status).to.equal(201);
        expect(body).to.deep.equal(answers[0]!.body);
      }
      expect(await orders.told(answers[0]!.body.orderId)).to.deep.equal(['order.created']);
    });

    it('refuses a different order under the same key', async () => {
      const key = { 'idempotency-key': randomUUID() };
      await post({}, key);
      expect((await post({ price: 13 }, key)).status).to.equal(422);
    });
  });

  describe('and reading them', () => {
    it('lists the orders of a user, oldest first', async () => {
      const customer = await orders.signUp();
      const placed: Order[] = [];
      // Ids in no order of time.
      for (let n = 0; n < 5; n += 1) placed.push(await orders.place(customer, { orderId: randomUUID() }));
      const { status, body } = await orders.http().get(`/orders?userId=${customer.toUpperCase()}`);
      expect(status).to.equal(200);
      expect(body.items[0].productName).to.equal('Welcome kit');
      expect(body.items.slice(1)).to.deep.equal(placed);
      expect(body.next).to.equal(null);

      const seen: Order[] = [];
      for (let next: string | null = ''; next !== null; ) {
        const page = await orders
          .http()
          .get(`/orders?userId=${customer}&limit=2${next === '' ? '' : `&after=${next}`}`);
        expect(page.body.items, 'orders on a page').to.have.length(2);
        seen.push(...page.body.items);
        next = page.body.next;
      }
      expect(seen, 'page by page').to.deep.equal(body.items);
    });

    it('refuses a cursor that is unknown or of another user, instead of returning an empty page', async () => {
      const [customer, other] = [await orders.signUp(), await orders.signUp()];
      const foreign = await orders.place(other);
      for (const after of [foreign.orderId, randomUUID()]) {
        const { status, body } = await orders.http().get(`/orders?userId=${customer}&after=${after}`);
        expect([status, body.code]).to.deep.equal([400, 'cursor_unknown']);
      }
      const own = await orders.http().get(`/orders?userId=${other}&after=${foreign.orderId}`);
      expect(own.body).to.deep.equal({ items: [], next: null });
    });

    it('returns an empty list for a user without orders', async () => {
      expect((await orders.http().get(`/orders?userId=${randomUUID()}`)).body).to.deep.equal({
        items: [],
        next: null,
      });
    });

    it('returns 404 for an unknown order', async () => {
      const { status, body } = await orders.http().get(`/orders/${randomUUID()}`);
      expect(status).to.equal(404);
      expect(body.code).to.equal('order_unknown');
    });

    for (const path of ['/orders', '/orders?userId=42', '/orders/42'])
      it(`refuses GET ${path}, naming the field`, async () => {
        const { status, body } = await orders.http().get(path);
        expect(status).to.equal(400);
        expect(body.errors[0].path).to.equal(path.includes('/42') ? 'id' : 'userId');
      });
  });

  it('works while other users sign up', async () => {
    const strangers = Array.from({ length: 30 }, () => signUpOf());
    await orders.publish(...strangers);
    const answers = await Promise.all(
      strangers.map((stranger) =>
        eventually(async () => {
          const answer = await post({ userId: stranger.userId });
          expect(answer.status).to.equal(201);
          return answer.body as Order;
        }),
      ),
    );
    for (const { orderId, userId: customer } of answers) {
      const { body } = await orders.http().get(`/orders?userId=${customer}`);
      expect(body.items.map((order: Order) => order.orderId)).to.include(orderId);
      expect(body.items).to.have.length(2);
    }
  });

  it('reports ready, with the state of its broker', async () => {
    const running = await orders.start();
    const { status, body } = await client(running.adminUrl).get('/readyz');
    expect(status).to.equal(200);
    expect(body.status).to.equal('ready');
  });
});
