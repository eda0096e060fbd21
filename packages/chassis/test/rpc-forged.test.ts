// Requests and replies in another's name, and one service that asks so much that nobody else would be answered.
import { randomUUID } from 'node:crypto';
import { eventually, withBroker } from '@warren/testkit';
import { connect } from 'amqplib';
import { expect } from 'chai';
import { answer, echo, gate, oracle, pilgrim, stage } from './fixtures/questions.ts';

const SERVICES = ['oracle', 'pilgrim', 'flooder', 'mallory'];

describe('a request or reply in the name of another', () => {
  const broker = withBroker({ services: SERVICES });
  const { launch, ask, lines, metric, probe } = stage(broker);

  const requestOf = (replyTo: string, more: object = {}) => ({
    messageId: randomUUID(),
    replyTo,
    contentType: 'application/json',
    headers: { 'x-warren-timeout': 20_000 },
    ...more,
  });
  const forged: [string, string, object][] = [
    ['a user that is no caller of the method', 'mallory', requestOf('mallory.reply.x')],
    ['a user that is no caller, for the reply queue of one that is', 'mallory', requestOf('pilgrim.reply.x')],
    ['a caller, for the reply queue of another', 'flooder', requestOf('pilgrim.reply.x')],
    ['a caller, but without a user-id', 'pilgrim', requestOf('pilgrim.reply.x', { userId: undefined })],
    ['the service itself, which is no caller', 'oracle', requestOf('oracle.reply.x')],
  ];
  for (const [what, as, properties] of forged)
    it(`of ${what}, is dropped unread, counted and reported`, async () => {
      let handled = 0;
      const server = await launch(
        oracle((...of) => {
          handled += 1;
          return echo(...of);
        }),
      );
      const replies = await probe('rpc', '*.reply.#');
      await broker.publish('rpc', answer.routingKey, { question: 'x' }, properties, as);
      await eventually(async () =>
        expect(await metric(server, 'messages_forged_total', { queue: 'oracle.rpc' })).to.equal(1),
      );
      await broker.publish(
        'rpc',
        answer.routingKey,
        { question: 'y' },
        requestOf('pilgrim.reply.x'),
        'pilgrim',
      );
      await replies.waitFor(({ body }) => body.answer === 'y!', { timeout: 20_000 });
      expect(handled).to.equal(1);
      expect(await metric(server, 'rpc_handling_duration_seconds_count', { outcome: 'forged' })).to.equal(1);
      expect(lines.find(({ code }) => code === 'forged')).to.include({ level: 'warn', queue: 'oracle.rpc' });
    });

  it('of the operator is refused, too: a method is called by services', async () => {
    const server = await launch(oracle(), { OPERATORS: broker.operator });
    await broker.publish('rpc', answer.routingKey, { question: 'x' }, requestOf('pilgrim.reply.x'));
    await eventually(async () =>
      expect(await metric(server, 'messages_forged_total', { outcome: 'refused' })).to.equal(1),
    );
  });

  for (const as of ['mallory', 'pilgrim', 'flooder'])
    it(`of ${as}, does not answer for the service that is asked`, async () => {
      const { promise, resolve } = gate();
      await launch(
        oracle(async (...of) => {
          await promise;
          return echo(...of);
        }),
      );
      const asking = await launch(pilgrim);
      const requests = await probe('rpc', 'oracle.#');
      const answered = ask(asking, 'question=who&timeout=9000');
      const [request] = await requests.waitFor(() => true);
      const { replyTo, messageId } = request!.properties as { replyTo: string; messageId: string };
      await broker.publish('rpc', replyTo, { answer: 'forged' }, { correlationId: messageId }, as);
      await eventually(async () =>
        expect(await metric(asking, 'messages_forged_total', { queue: 'pilgrim.reply' })).to.equal(1),
      );
      resolve();
      expect((await answered).body).to.deep.equal({ answer: 'who!' });
    });

  for (const check of ['enforce', 'report', 'off'])
    it(`for a reply queue of no caller, under whichever routing key, is dropped with PRODUCER_CHECK=${check}`, async () => {
      const server = await launch(oracle(), { PRODUCER_CHECK: check });
      const replies = await probe('rpc', '*.reply.#');
      // On 3.10 a CC brings it here under another key than that of a method.
      for (const [key, headers] of [
        [answer.routingKey, {}],
        ['mallory.other.v1', { CC: [answer.routingKey] }],
      ] as const) {
        const request = requestOf('mallory.reply.x');
        const properties = { ...request, headers: { ...request.headers, ...headers } };
        await broker.publish('rpc', key, { question: 'x' }, properties, 'mallory');
      }
      await eventually(async () =>
        expect(await metric(server, 'rpc_handling_duration_seconds_count', { outcome: 'forged' })).to.equal(
          2,
        ),
      );
      await broker.publish(
        'rpc',
        answer.routingKey,
        { question: 'y' },
        requestOf('pilgrim.reply.x'),
        'pilgrim',
      );
      await replies.waitFor(({ body }) => body.answer === 'y!', { timeout: 20_000 });
      expect(replies.events).to.have.length(1);
    });

  it('to a method whose contract does not name the service does not leave it', async () => {
    const asking = await launch(pilgrim);
    const requests = await probe('rpc', 'oracle.#');
    const response = await fetch(`${asking.url}/other`);
    expect(response.status).to.equal(500);
    const failure = lines.find(({ level }) => level === 'error');
    expect(JSON.stringify(failure)).to.contain(
      'oracle.other may not be called by pilgrim: its contract names flooder',
    );
    expect(requests.events).to.deep.equal([]);
  });

  it('is accepted, counted and reported with PRODUCER_CHECK=report', async () => {
    const server = await launch(oracle(), { PRODUCER_CHECK: 'report' });
    const replies = await probe('rpc', 'pilgrim.reply.#');
    await broker.publish(
      'rpc',
      answer.routingKey,
      { question: 'x' },
      requestOf('pilgrim.reply.x'),
      'mallory',
    );
    await replies.waitFor(({ body }) => body.answer === 'x!');
    expect(await metric(server, 'messages_forged_total', { outcome: 'accepted' })).to.equal(1);
  });
});

describe('a caller that floods a service with requests', function () {
  this.timeout(120_000);
  const FLOOD = 6_000;
  const broker = withBroker({ services: SERVICES });
  const { launch, ask, lines, metric } = stage(broker);

  it('does not keep it from answering the others, and what exceeds its share is dropped unread', async () => {
    const { promise, resolve } = gate();
    const server = await launch(
      oracle(async (request, context) => {
        if (request.question === 'flood') await promise;
        return echo(request, context);
      }),
    );
    const asking = await launch(pilgrim, { REQUEST_TIMEOUT: '60s' });
    const connection = await connect(broker.url('flooder'));
    const channel = await connection.createConfirmChannel();
    for (let n = 0; n < FLOOD; n += 1)
      channel.publish('rpc', answer.routingKey, Buffer.from('{"question":"flood"}'), {
        messageId: `flood-${n}`,
        userId: `${broker.vhost}.flooder`,
        replyTo: 'flooder.reply.x',
        headers: { 'x-warren-timeout': 60_000 },
      });
    await channel.waitForConfirms();

    // Behind all of them in the queue, and every handler of the flooder is busy.
    const { status, body } = await ask(asking, 'question=who&timeout=30000');
    expect({ status, body }).to.deep.equal({ status: 200, body: { answer: 'who!' } });
    await eventually(
      async () =>
        expect(await metric(server, 'rpc_handling_duration_seconds_count', { outcome: 'refused' })).to.equal(
          FLOOD - 1_000,
        ),
      { timeout: 60_000 },
    );
    const warnings = lines.filter(({ code }) => code === 'rpc_share');
    expect(warnings[0]).to.include({ level: 'warn', from: 'flooder' });
    expect(warnings.length).to.be.below(100);
    resolve();
    await eventually(
      async () =>
        expect(await metric(server, 'rpc_handling_duration_seconds_count', { outcome: 'answered' })).to.equal(
          1_001,
        ),
      { timeout: 60_000 },
    );
    await connection.close();
  });
});
