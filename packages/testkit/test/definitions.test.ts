import { expect } from 'chai';
import { managementOf, platformDefinitions, withBroker } from '../src/index.ts';

describe('the definitions on a vhost', () => {
  const broker = withBroker({ services: ['user', 'session'] });

  it('are the exchanges, the queue and the permissions of the platform', async () => {
    const api = managementOf({ url: broker.adminUrl, managementUrl: broker.managementUrl });
    const vhost = encodeURIComponent(broker.vhost);

    const exchanges = await api.request<{ name: string; type: string; arguments: object }[]>(
      'GET',
      `exchanges/${vhost}`,
    );
    const events = exchanges?.find(({ name }) => name === 'events');
    const permissions = await api.request<{ user: string; configure: string }[]>(
      'GET',
      `vhosts/${vhost}/permissions`,
    );
    const topics = await api.request<object[]>('GET', `vhosts/${vhost}/topic-permissions`);

    expect(events).to.deep.include({ type: 'topic', arguments: { 'alternate-exchange': 'unrouted' } });
    expect(exchanges?.map(({ name }) => name)).to.include.members([
      'events',
      'rpc',
      'unrouted',
      'unconsumed',
    ]);
    expect(permissions).to.have.length(3);
    expect(permissions?.find(({ user }) => user.endsWith('.session'))).to.include({
      configure: '^session\\.',
    });
    expect(topics).to.have.length(4);
    expect(await broker.queueDepth('unrouted')).to.equal(0);
  });

  it('take a service name for what it is, and not for a pattern', () => {
    const [permission] = platformDefinitions(['a.b']).permissions ?? [];

    expect(new RegExp(permission?.configure as string).test('a.b.queue')).to.equal(true);
    expect(new RegExp(permission?.configure as string).test('axb.queue')).to.equal(false);
  });
});
