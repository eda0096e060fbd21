// A service without a broker.ts gets its user and permissions from its AsyncAPI document.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { withBroker } from '@warren/testkit';
import { expect } from 'chai';
import { type ForeignDocument, foreignDefinitions } from '../../../scripts/asyncapi/foreign.ts';
import { checkout, runNode } from '../../../scripts/copy.ts';
import { findExamples } from '../../../scripts/demo/services.ts';

const file = join(checkout, 'examples/python-consumer/asyncapi.json');
const points: ForeignDocument = JSON.parse(readFileSync(file, 'utf8'));
const script = join(checkout, 'scripts/foreign-definitions.ts');

const operation = (action: 'send' | 'receive', key: string, callers?: string[]) => ({
  action,
  channel: { $ref: `#/channels/${key}` },
  ...(callers && { 'x-callers': callers }),
});

describe('the definitions of a service without a broker.ts', () => {
  const broker = withBroker({ services: ['points'], definitions: foreignDefinitions(points) });
  const rights = (document: ForeignDocument, exchange: string) =>
    foreignDefinitions(document).topic_permissions?.find((each) => each.exchange === exchange);

  it('let it publish its own events', async () => {
    await broker.publish('events', 'points.earned.v1', {}, {}, 'points');
  });

  it('refuse the events of another service', async () => {
    const refusal = await broker.publish('events', 'order.confirmed.v1', {}, {}, 'points').catch((e) => e);
    expect(String(refusal)).to.match(/channel closed|ACCESS_REFUSED/i);
  });

  it('keep an event out of `unrouted` that may go unconsumed', async () => {
    await broker.publish('events', 'points.earned.v1', {}, {}, 'points');
    await broker.publish('events', 'points.lost.v1', {}, {}, 'points');
    const unrouted = await broker.get('unrouted');
    expect(unrouted.map(({ routingKey }) => routingKey)).to.deep.equal(['points.lost.v1']);
  });

  it('let it subscribe to exactly the events that it receives', () => {
    expect(rights(points, 'events')?.read).to.equal(String.raw`^(order\.confirmed\.v1$)`);
  });

  it('let it call what it sends to others, and reply to its callers', () => {
    const operations = {
      calls: operation('send', 'user.find.v1'),
      handles: operation('receive', 'points.find.v1', ['gateway']),
    };
    const { write, read } = rights({ ...points, operations }, 'rpc') ?? {};
    expect(write).to.equal(String.raw`^(user\.find\.v1$|gateway\.reply\.)`);
    expect(read).to.equal(String.raw`^points\.`);
  });

  it('are printed for an import', async () => {
    const { code, output } = await runNode([script, file], checkout);
    expect(code).to.equal(0);
    expect(JSON.parse(output).users[0].name).to.equal('points');
  });

  it('need a name and routing keys', async () => {
    const named = await runNode([script, join(checkout, 'package.json')], checkout);
    expect(named.code).to.equal(2);
    expect(named.output).to.include('info.title must be the name of the service');
    const bad = { ...points, operations: { some: operation('send', 'points') } };
    expect(() => foreignDefinitions(bad)).to.throw(
      'operations.some.channel must refer to a channel such as #/channels/order.confirmed.v1',
    );
  });
});

describe('make example', () => {
  it('starts what the package.json of an example names', () => {
    const [found] = findExamples(['python-consumer']);
    expect(found).to.include({ name: 'points', directory: 'examples/python-consumer', adminPort: 9020 });
  });

  it('names the examples that exist', () => {
    expect(() => findExamples(['cobol'])).to.throw(/There is no example 'cobol'\. .*python-consumer/);
  });
});
