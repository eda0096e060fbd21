import { buildEvent } from '@warren/events';
import { eventually, withBroker, withDatabase } from '@warren/testkit';
import { expect } from 'chai';
import { newId } from '../src/id.ts';
import { inboxId } from '../src/inbox/inbox.ts';
import { type RunningService, start } from '../src/service/start.ts';
import { silent } from './fixtures/relay.ts';
import { listener, written } from './fixtures/services.ts';

const DAY = 86_400_000;
const QUEUE = 'beta.alpha.written';
const DLQ = `${QUEUE}.dlq`;

describe('an event in any form that CloudEvents allows', function () {
  this.timeout(120_000);
  after(() => beta?.stop());
  const broker = withBroker({ services: ['alpha', 'beta'] });
  const database = withDatabase();
  let beta: RunningService;
  /** Texts of which the handler shall fail. */
  const failing = new Set<string>();

  const handler = listener('beta', async ({ data }, { transaction }) => {
    if (failing.has(data.noteId)) throw new Error('as the test wants it');
    await transaction.insertInto('heard').values({ event_id: newId(), note_id: data.noteId }).execute();
  });
  const publish = async (changes: object, properties: object = {}) => {
    const noteId = newId();
    const event = {
      ...buildEvent(written, {
        id: newId(),
        source: '/alpha',
        time: new Date(),
        data: { noteId, text: 'x' },
      }),
      ...changes,
    };
    await broker.publish('events', 'alpha.written.v1', JSON.stringify(event), properties);
    return noteId;
  };
  const effects = async (noteId: string) =>
    (await database.admin<{ note_id: string }>('select note_id from heard')).filter(
      ({ note_id }) => note_id === noteId,
    ).length;
  const deadLetter = async () => {
    await eventually(async () => expect(await broker.queueDepth(DLQ)).to.equal(1), { timeout: 60_000 });
    const [dead] = await broker.get(DLQ, { remove: true });
    return dead?.properties;
  };

  before(async () => {
    const env = {
      PORT: '0',
      ADMIN_PORT: '0',
      AMQP_URL: broker.url('beta'),
      DATABASE_URL: database.url,
      RETRY_DELAYS: '1s',
    };
    beta = await start(handler, env, { log: silent });
    await eventually(() => expect(beta.ready()).to.equal(true), { timeout: 60_000 });
  });

  const forms: [string, object, object?][] = [
    ['a charset', { datacontenttype: 'application/json; charset=utf-8' }],
    [
      'nulls',
      {
        time: null,
        datacontenttype: null,
        dataschema: null,
        subject: null,
        correlationid: null,
        traceparent: null,
      },
    ],
    ['a time in lower case', { time: new Date().toISOString().toLowerCase() }],
    [
      'a timestamp of the broker in place of a time',
      { time: undefined },
      { timestamp: Math.floor(Date.now() / 1_000) },
    ],
    ['a timestamp of another unit', { time: undefined }, { timestamp: Date.now() }],
  ];
  for (const [what, changes, properties] of forms)
    it(`is handled with ${what}`, async () => {
      const noteId = await publish(changes, properties);
      await eventually(async () => expect(await effects(noteId)).to.equal(1), { timeout: 60_000 });
    });

  it('has one effect also if its id is not a UUID, and source and id identify it', async () => {
    const id = 'A234-1234-1234';
    const first = await publish({ id, source: '/a' });
    await eventually(async () => expect(await effects(first)).to.equal(1), { timeout: 60_000 });
    const repeated = await publish({ id, source: '/a' });
    const another = await publish({ id, source: '/b' });
    await eventually(async () => expect(await effects(another)).to.equal(1), { timeout: 60_000 });
    await eventually(async () => expect(await broker.queueDepth(QUEUE)).to.equal(0));
    expect(await effects(repeated)).to.equal(0);
    expect(inboxId({ source: '/a', id })).to.not.equal(inboxId({ source: '/b', id }));
  });

  it('expires by the timestamp of the broker if it has no time', async () => {
    await publish({ time: undefined }, { timestamp: Math.floor((Date.now() - 31 * DAY) / 1_000) });
    expect((await deadLetter())?.headers).to.include({ 'x-warren-reason': 'expired' });
  });

  it('keeps its arrival as timestamp when it is retried and dead-lettered, if it has no time and no timestamp', async () => {
    const before = Math.floor(Date.now() / 1_000);
    const noteId = newId();
    failing.add(noteId);
    await publish({ time: undefined, data: { noteId, text: 'x' } });
    const dead = await deadLetter();
    expect(dead?.headers).to.include({ 'x-warren-reason': 'handler_failed' });
    expect(dead?.timestamp)
      .to.be.a('number')
      .and.be.within(before, Math.ceil(Date.now() / 1_000));
  });

  it('is dead-lettered with the true reason when its subject is empty', async () => {
    await publish({ subject: '' });
    const headers = (await deadLetter())?.headers;
    expect(headers).to.include({ 'x-warren-reason': 'invalid_attribute' });
    expect(headers?.['x-warren-error']).to.include('subject is not allowed to be empty');
  });
});
