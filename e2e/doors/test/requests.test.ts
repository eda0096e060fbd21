// Requests over the broker between two applications.
import { createMessaging, type Messaging } from '@warren/chassis/messaging';
import { createRequests, defineMethod, handles, Problem, problem, type Requests } from '@warren/chassis/rpc';
import { Joi } from '@warren/events';
import { eventually, platformDefinitions, withBroker } from '@warren/testkit';
import { expect } from 'chai';

const findThing = defineMethod<{ thingId: string }, { name: string }>({
  method: 'thing.find',
  version: 1,
  callers: ['shelf'],
  access: 'public',
  request: { thingId: Joi.string().required() },
  reply: { name: Joi.string().required() },
});

describe('applications that call each other over the broker', function () {
  this.timeout(60_000);
  const open: Messaging[] = [];
  after(() => Promise.all(open.map((each) => each.stop())));
  const broker = withBroker({
    services: ['thing', 'shelf', 'mallory'],
    definitions: platformDefinitions(['thing', 'shelf', 'mallory'], (service) => ({
      consumes: [],
      calls: service === 'thing' ? [] : [findThing.routingKey],
      answers: service === 'thing' ? ['shelf'] : [],
    })),
  });
  const handled: string[] = [];
  let shelf: Requests;

  const join = (service: string) => {
    const messaging = createMessaging({ service, brokerUrl: broker.url(service) });
    open.push(messaging);
    return messaging;
  };
  const failure = (promise: Promise<unknown>): Promise<Problem> =>
    promise.then(
      () => expect.fail('it was fulfilled'),
      (error) => error,
    );

  before(async () => {
    const thing = join('thing');
    const methods = [
      handles(findThing, async ({ thingId }) => {
        if (thingId === 'missing') throw problem(404, { detail: 'no such thing' });
        return { name: `the name of ${thingId}` };
      }),
    ];
    createRequests({
      messaging: thing,
      methods,
      hooks: { onRequest: ({ outcome }) => handled.push(outcome) },
    }).start();
    const messaging = join('shelf');
    shelf = createRequests({ messaging, calls: true });
    shelf.start();
    await Promise.all(open.map((each) => each.connected()));
  });

  it('get the reply of a handler, and its problems', async () => {
    expect(await shelf.request(findThing, { thingId: 'one' })).to.deep.equal({ name: 'the name of one' });
    const missing = await failure(shelf.request(findThing, { thingId: 'missing' }));
    expect(missing).to.be.instanceOf(Problem);
    expect(missing).to.include({ status: 404, detail: 'no such thing' });
    // Reported when the broker has confirmed the reply, which the caller may have before.
    await eventually(() => expect(handled).to.deep.equal(['answered', 'problem']));
  });

  it('are refused when the contract does not name them', async () => {
    const messaging = join('mallory');
    const mallory = createRequests({ messaging, calls: true });
    mallory.start();
    await messaging.connected();
    const refused = await failure(mallory.request(findThing, { thingId: 'one' }));
    expect(refused.message).to.match(/thing\.find may not be called/);
  });

  it('handle only methods of their own', () => {
    const messaging = join('shelf');
    const create = () =>
      createRequests({ messaging, methods: [handles(findThing, async () => ({ name: 'x' }))] });
    expect(create).to.throw(/thing\.find\.v1 belongs to the service 'thing', not 'shelf'/);
  });
});
