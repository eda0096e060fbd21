import { randomUUID } from 'node:crypto';
import { eventually, withBroker } from '@warren/testkit';
import { expect } from 'chai';
import { problem } from '../src/index.ts';
import { answer, echo, gate, oracle, pilgrim, stage } from './fixtures/questions.ts';

const NAMES = ['oracle', 'pilgrim'];

describe('a request over the broker', () => {
  const broker = withBroker({ services: NAMES });
  const { launch, ask, lines, metric, probe } = stage(broker);

  it('is answered', async () => {
    await launch(oracle());
    const asking = await launch(pilgrim);
    const { status, body } = await ask(asking, 'question=who');
    expect({ status, body }).to.deep.equal({ status: 200, body: { answer: 'who!' } });
    expect(
      await metric(asking, 'rpc_duration_seconds_count', { method: 'oracle.answer', outcome: 'answered' }),
    ).to.equal(1);
  });

  it('goes over the exchange rpc in both directions, transient, under its deadline', async () => {
    const recorded = await probe('rpc');
    await launch(oracle());
    const asking = await launch(pilgrim);
    await ask(asking, 'question=who&timeout=4000', { 'x-correlation-id': 'from-the-test' });
    const [question, reply] = await recorded.waitFor(() => true, { count: 2 });
    expect(question?.routingKey).to.equal('oracle.answer.v1');
    expect(question?.body).to.deep.equal({ question: 'who' });
    expect(question?.properties).to.include({
      contentType: 'application/json',
      deliveryMode: 1,
      expiration: '4000',
      appId: 'pilgrim',
      type: 'oracle.answer.v1',
    });
    expect(question?.properties.headers).to.deep.include({
      'x-correlation-id': 'from-the-test',
      'x-warren-timeout': 4_000,
    });
    expect(question?.properties.replyTo).to.match(/^pilgrim\.reply\./);
    expect(reply?.routingKey).to.equal(question?.properties.replyTo);
    expect(reply?.properties).to.include({ correlationId: question?.properties.messageId, deliveryMode: 1 });
    expect(Number(reply?.properties.expiration)).to.be.within(1, 4_000);
    expect(reply?.properties.headers).to.include({ 'x-correlation-id': 'from-the-test' });
  });

  it('carries correlation id and trace to the handler and its log', async () => {
    let seen: string | undefined;
    await launch(
      oracle(async (request, context) => {
        seen = context.correlationId;
        context.log.info('asked');
        return echo(request, context);
      }),
    );
    const asking = await launch(pilgrim);
    const trace = '0af7651916cd43dd8448eb211c80319c';
    await ask(asking, '', {
      'x-correlation-id': 'from-the-test',
      traceparent: `00-${trace}-b7ad6b7169203331-01`,
    });
    expect(seen).to.equal('from-the-test');
    for (const msg of ['asked', 'rpc'])
      expect(lines.find((line) => line.msg === msg)).to.include({
        correlationId: 'from-the-test',
        traceId: trace,
      });
  });

  it('brings the problem that the handler threw', async () => {
    await launch(
      oracle(async () => {
        throw problem(404, { code: 'answer_unknown', title: 'Answer unknown', detail: 'Nobody knows.' });
      }),
    );
    const asking = await launch(pilgrim);
    const { status, body } = await ask(asking);
    expect(status).to.equal(404);
    expect(body).to.deep.equal({
      title: 'Answer unknown',
      status: 404,
      code: 'answer_unknown',
      detail: 'Nobody knows.',
    });
    expect(await metric(asking, 'rpc_duration_seconds_count', { outcome: 'problem' })).to.equal(1);
  });

  it('says nothing of what went wrong inside, which is in the log', async () => {
    await launch(
      oracle(async () => {
        throw new Error('secret sauce');
      }),
    );
    const asking = await launch(pilgrim);
    const { status, body } = await ask(asking, '', { 'x-correlation-id': 'went-wrong' });
    expect(status).to.equal(500);
    expect(JSON.stringify(body)).not.to.contain('sauce');
    const line = lines.find(({ msg }) => msg === 'RPC request failed unexpectedly');
    expect(line).to.deep.include({ correlationId: 'went-wrong', level: 'error' });
    expect(JSON.stringify(line?.err)).to.contain('secret sauce');
  });

  it('is refused with every field at fault, before any handler sees it', async () => {
    let handled = 0;
    await launch(
      oracle(async (...of) => {
        handled += 1;
        return echo(...of);
      }),
    );
    const asking = await launch(pilgrim);
    const { status, body } = await ask(asking, `question=${'x'.repeat(21)}`);
    expect(status).to.equal(400);
    expect(body).to.include({ code: 'invalid_input' });
    expect(body.errors.map(({ path }: { path: string }) => path)).to.deep.equal(['question']);
    expect(handled).to.equal(0);
  });

  it('fails with 502 when the reply does not fit its contract; fields that it does not know are dropped', async () => {
    const replies: object[] = [{ answer: 'yes', extra: 1 }, { answer: 42 }, {}, [] as object];
    await launch(oracle(async () => replies.shift() as { answer: string }));
    const asking = await launch(pilgrim);
    expect((await ask(asking)).body).to.deep.equal({ answer: 'yes' });
    for (const _ of [1, 2, 3]) {
      const { status, body } = await ask(asking);
      expect(status).to.equal(502);
      expect(body.code).to.equal('reply_invalid');
    }
    expect(await metric(asking, 'rpc_duration_seconds_count', { outcome: 'invalid' })).to.equal(3);
  });

  it('ends at its deadline; the reply that comes later is dropped and counted', async () => {
    const { promise, resolve } = gate();
    const server = await launch(
      oracle(async (...of) => {
        await promise;
        return echo(...of);
      }),
    );
    const asking = await launch(pilgrim);
    const replies = await probe('rpc', '*.reply.#');
    const questions = await probe('rpc', 'oracle.#');
    // Long enough for a busy machine to bring the request to its handler: the broker drops one that has expired.
    const { status, body } = await ask(asking, 'timeout=1500');
    expect(status).to.equal(504);
    expect(body).to.include({
      code: 'request_timed_out',
      detail: 'oracle.answer did not respond within 1500 ms.',
    });
    await eventually(async () =>
      expect(await metric(server, 'rpc_handling_duration_seconds_count', { outcome: 'late' })).to.equal(1),
    );
    resolve();
    expect((await ask(asking, 'question=who')).body.answer).to.equal('who!');
    // The caller may have its reply before the probe has its copy.
    await replies.waitFor(({ body }) => body.answer === 'who!');
    expect(replies.events).to.have.length(1);

    const [{ properties }] = (await questions.waitFor(() => true)) as [(typeof questions.events)[number]];
    await broker.publish(
      'rpc',
      properties.replyTo,
      { answer: 'late' },
      { correlationId: properties.messageId },
      'oracle',
    );
    await eventually(async () => expect(await metric(asking, 'rpc_replies_dropped_total')).to.equal(1));
  });

  it('fails at once when nobody has ever served it', async () => {
    const asking = await launch(pilgrim);
    const started = performance.now();
    const response = await fetch(`${asking.url}/nobody`);
    expect(response.status).to.equal(503);
    expect(((await response.json()) as { code: string }).code).to.equal('method_unserved');
    expect(performance.now() - started).to.be.below(2_000);
  });

  it('does not outlive the request that it is part of', async () => {
    const { promise, resolve } = gate();
    const arrived = gate();
    await launch(
      oracle(async (...of) => {
        arrived.resolve();
        await promise;
        return echo(...of);
      }),
    );
    const asking = await launch(pilgrim);
    const leaving = new AbortController();
    const left = fetch(`${asking.url}/ask`, { signal: leaving.signal }).catch(() => 'left');
    await arrived.promise;
    leaving.abort();
    expect(await left).to.equal('left');
    await eventually(async () =>
      expect(await metric(asking, 'rpc_duration_seconds_count', { outcome: 'abandoned' })).to.equal(1),
    );
    resolve();
    await eventually(async () => expect(await metric(asking, 'rpc_replies_dropped_total')).to.equal(1));
  });

  it('waits for one of the few handlers at once, and is dropped when it waited too long', async () => {
    const { promise, resolve } = gate();
    let now = 0;
    let most = 0;
    const server = await launch(
      oracle(async (...of) => {
        now += 1;
        most = Math.max(most, now);
        await promise;
        now -= 1;
        return echo(...of);
      }),
    );
    const asking = await launch(pilgrim);
    const answers = Array.from({ length: 50 }, (_, n) => ask(asking, `question=${n}&timeout=20000`));
    await eventually(() => expect(now).to.equal(20));
    const impatient = Array.from({ length: 5 }, () => ask(asking, 'timeout=200'));
    expect((await Promise.all(impatient)).map(({ status }) => status)).to.deep.equal(Array(5).fill(504));
    // The server counts their 200 ms from their arrival, which may be later than the caller's.
    await new Promise((passed) => setTimeout(passed, 1_000));
    resolve();
    const statuses = (await Promise.all(answers)).map(({ status }) => status);
    expect(statuses).to.deep.equal(Array(50).fill(200));
    expect(most).to.equal(20);
    expect(await broker.queueDepth('oracle.rpc')).to.equal(0);
    expect(await metric(server, 'rpc_handling_duration_seconds_count', { outcome: 'answered' })).to.equal(50);
  });

  it('is refused when this replica waits for a thousand replies', async () => {
    const { promise, resolve } = gate();
    await launch(
      oracle(async (...of) => {
        await promise;
        return echo(...of);
      }),
    );
    const asking = await launch(pilgrim);
    const answers = Array.from({ length: 1_020 }, () => ask(asking, 'timeout=8000'));
    const refused = await Promise.any(
      answers.map(async (each) => {
        const { status, body } = await each;
        if (status === 200) throw new Error('answered');
        return body;
      }),
    );
    expect(refused).to.include({ status: 503, code: 'too_many_requests_pending' });
    resolve();
    const statuses = (await Promise.all(answers)).map(({ status }) => status);
    expect(statuses.filter((status) => status === 200)).to.have.length.above(999);
    expect((await ask(asking)).status).to.equal(200);
  });

  it('is served by the replica that is free', async () => {
    const { promise, resolve } = gate();
    const by = (name: string) => async () => {
      await promise;
      return { answer: 'x', by: name };
    };
    await launch(oracle(by('one')));
    await launch(oracle(by('two')));
    const asking = await launch(pilgrim);
    const answers = Array.from({ length: 40 }, () => ask(asking));
    resolve();
    const served = (await Promise.all(answers)).map(({ body }) => body.by);
    for (const name of ['one', 'two']) expect(served.filter((each) => each === name).length).to.be.above(5);
  });

  it('that is in flight gets its reply before the service that handles it stops', async () => {
    const { promise, resolve } = gate();
    const arrived = gate();
    const server = await launch(
      oracle(async (...of) => {
        arrived.resolve();
        await promise;
        return echo(...of);
      }),
    );
    const asking = await launch(pilgrim);
    const answered = ask(asking);
    await arrived.promise;
    const stopped = server.stop();
    await eventually(() => expect(lines.map(({ msg }) => msg)).to.include('draining'));
    resolve();
    expect((await answered).status).to.equal(200);
    expect(await stopped).to.equal(true);
  });

  it('that is in flight gets its reply before the service that sent it stops', async () => {
    const { promise, resolve } = gate();
    const arrived = gate();
    await launch(
      oracle(async (...of) => {
        arrived.resolve();
        await promise;
        return echo(...of);
      }),
    );
    const asking = await launch(pilgrim);
    const answered = ask(asking);
    await arrived.promise;
    const stopped = asking.stop();
    await eventually(() => expect(lines.map(({ msg }) => msg)).to.include('draining'));
    resolve();
    expect((await answered).status).to.equal(200);
    expect(await stopped).to.equal(true);
  });

  describe('that nobody should have sent', () => {
    const replyTo = 'pilgrim.reply.test';
    const good = () => ({
      messageId: randomUUID(),
      replyTo,
      contentType: 'application/json',
      headers: { 'x-warren-timeout': 5_000 },
    });

    const unanswerable: [string, object][] = [
      ['no reply queue', { ...good(), replyTo: undefined }],
      ["another's request queue as its reply queue", { ...good(), replyTo: 'oracle.answer.v1' }],
      ['no id', { ...good(), messageId: undefined }],
      ['no deadline', { ...good(), headers: {} }],
      ['a deadline in words', { ...good(), headers: { 'x-warren-timeout': 'soon' } }],
      ['a deadline in the past', { ...good(), headers: { 'x-warren-timeout': -1 } }],
      ["Rascal's own headers", { ...good(), replyTo: undefined, headers: { rascal: 'x', 'x-death': 7 } }],
    ];
    for (const [what, properties] of unanswerable)
      it(`with ${what}, is dropped and counted`, async () => {
        const server = await launch(oracle());
        const replies = await probe('rpc', 'pilgrim.reply.#');
        await broker.publish('rpc', answer.routingKey, { question: 'x' }, properties, 'pilgrim');
        await eventually(async () =>
          expect(
            await metric(server, 'rpc_handling_duration_seconds_count', { outcome: 'malformed' }),
          ).to.equal(1),
        );
        await broker.publish('rpc', answer.routingKey, { question: 'y' }, good(), 'pilgrim');
        await replies.waitFor(({ body }) => body.answer === 'y!');
        expect(replies.events).to.have.length(1);
        expect(lines.filter(({ msg }) => /broker (unavailable|recovered)/.test(msg))).to.deep.equal([]);
      });

    const wrong: [string, Buffer | object][] = [
      ['is no JSON', Buffer.from('{')],
      ['is no UTF-8', Buffer.from([0x22, 0xff, 0x22])],
      ['has a NUL in it', { question: '\0' }],
      ['is no object', Buffer.from('7')],
      ['is nested too deep', Buffer.from(`${'['.repeat(3_000)}${']'.repeat(3_000)}`)],
      ['names its prototype', Buffer.from('{"__proto__":{"question":"x"}}')],
    ];
    for (const [what, content] of wrong)
      it(`and ${what}, is answered with 400`, async () => {
        await launch(oracle());
        const replies = await probe('rpc', 'pilgrim.reply.#');
        await broker.publish('rpc', answer.routingKey, content, good(), 'pilgrim');
        const [reply] = await replies.waitFor(() => true);
        expect(reply?.body).to.include({ status: 400, code: 'invalid_input' });
        expect(reply?.properties.contentType).to.equal('application/problem+json');
      });

    it('and is of a method that was served once, is answered with 503', async () => {
      await launch(oracle());
      const { connect } = await import('amqplib');
      const connection = await connect(broker.adminUrl);
      await (await connection.createChannel()).bindQueue('oracle.rpc', 'rpc', 'oracle.older.v1');
      await connection.close();
      const replies = await probe('rpc', 'pilgrim.reply.#');
      await broker.publish('rpc', 'oracle.older.v1', {}, good(), 'pilgrim');
      const [reply] = await replies.waitFor(() => true);
      expect(reply?.body).to.include({ status: 503, code: 'method_unserved' });
    });
  });

  describe('whose reply is not what it should be', () => {
    const reply: [string, Buffer, object, number][] = [
      ['no JSON', Buffer.from('{'), { contentType: 'application/json' }, 502],
      ['JSON of no content type', Buffer.from('{"answer":"x"}'), {}, 200],
      [
        'a problem that is none',
        Buffer.from('{"status":200}'),
        { contentType: 'application/problem+json' },
        502,
      ],
      [
        'a problem with a forged status',
        Buffer.from('{"status":"404","title":"x","code":"x"}'),
        { contentType: 'application/problem+json' },
        502,
      ],
      [
        "full of Rascal's headers",
        Buffer.from('{"answer":"x"}'),
        { headers: { rascal: 'x', 'x-death': 'y' }, contentType: 'application/json' },
        200,
      ],
    ];
    for (const [what, content, properties, status] of reply)
      it(`but ${what}, ends with ${status}`, async () => {
        const { promise, resolve } = gate();
        await launch(
          oracle(async (...of) => {
            await promise;
            return echo(...of);
          }),
        );
        const asking = await launch(pilgrim);
        const questions = await probe('rpc', 'oracle.#');
        const answered = ask(asking);
        const [question] = await questions.waitFor(() => true);
        const { replyTo, messageId } = question!.properties as { replyTo: string; messageId: string };
        await broker.publish('rpc', replyTo, content, { ...properties, correlationId: messageId }, 'oracle');
        expect((await answered).status).to.equal(status);
        resolve();
        expect((await ask(asking)).status).to.equal(200);
      });

    it('but was not requested, is dropped and counted', async () => {
      await launch(oracle());
      const asking = await launch(pilgrim);
      const questions = await probe('rpc', 'oracle.#');
      await ask(asking);
      const replyTo = questions.events[0]?.properties.replyTo as string;
      for (const correlationId of [undefined, randomUUID(), questions.events[0]?.properties.messageId])
        await broker.publish('rpc', replyTo, { answer: 'forged' }, { correlationId }, 'oracle');
      await eventually(async () => expect(await metric(asking, 'rpc_replies_dropped_total')).to.equal(3));
      expect((await ask(asking, 'question=who')).body.answer).to.equal('who!');
    });
  });
});
