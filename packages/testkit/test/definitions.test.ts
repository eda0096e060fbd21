import { expect } from 'chai';
import { findDefinitions, managementOf, platformDefinitions, withBroker } from '../src/index.ts';

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

  it('give no user a tag: as an impersonator the broker would vouch for whoever it says it is', async () => {
    const api = managementOf({ url: broker.adminUrl, managementUrl: broker.managementUrl });
    const all = (await api.request<{ name: string; tags: string | string[] }[]>('GET', 'users')) ?? [];
    const users = all.filter(({ name }) => name.startsWith(`${broker.vhost}.`));

    expect(users).to.have.length(2);
    for (const { tags } of users) expect(tags).to.have.length(0);
    for (const { tags } of findDefinitions()?.users ?? []) expect(tags).to.deep.equal([]);
  });

  it('limit what each user may have open, on the broker as in the file', async () => {
    const api = managementOf({ url: broker.adminUrl, managementUrl: broker.managementUrl });
    const user = encodeURIComponent(`${broker.vhost}.session`);
    const [found] = (await api.request<{ value: object }[]>('GET', `user-limits/${user}`)) ?? [];

    expect(found?.value).to.deep.equal({ 'max-connections': 240, 'max-channels': 640 });
    for (const { limits } of findDefinitions()?.users ?? []) expect(limits).to.deep.equal(found?.value);
  });

  it('grant the keys that a service subscribes to, calls and answers, and match no others', () => {
    const { topic_permissions: permissions = [] } = platformDefinitions(['a', 'b'], (service) =>
      service === 'a'
        ? { consumes: ['x.done.v1', 'y.done.v1'], calls: ['b.get.v1'], answers: ['c'] }
        : { consumes: [], calls: [], answers: [] },
    );
    const matches = (user: string, exchange: string, right: 'read' | 'write', key: string) => {
      const found = permissions.find((each) => each.user === user && each.exchange === exchange);
      return new RegExp(found?.[right] ?? '').test(key);
    };

    for (const key of ['x.done.v1', 'y.done.v1']) expect(matches('a', 'events', 'read', key)).to.equal(true);
    for (const key of ['x.done.v11', 'ax.done.v1', 'xxdone.v1', '#', '', 'x.done.v1.y.done.v1'])
      expect(matches('a', 'events', 'read', key), key).to.equal(false);
    for (const key of ['b.get.v1', 'c.reply.1']) expect(matches('a', 'rpc', 'write', key)).to.equal(true);
    for (const key of ['b.get.v2', 'd.reply.1', 'c.get.v1'])
      expect(matches('a', 'rpc', 'write', key), key).to.equal(false);
    expect(matches('b', 'events', 'read', 'x.done.v1')).to.equal(false);
  });

  it('take a service name for what it is, and not for a pattern', () => {
    const [permission] = platformDefinitions(['a.b']).permissions ?? [];

    expect(new RegExp(permission?.configure as string).test('a.b.queue')).to.equal(true);
    expect(new RegExp(permission?.configure as string).test('axb.queue')).to.equal(false);
  });
});
