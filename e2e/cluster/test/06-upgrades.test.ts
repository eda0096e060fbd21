import { expect } from 'chai';
import { withCharts } from './support/charts.ts';
import { get, helm, kubectl, podsOf, rolledOut, SERVICES, secret } from './support/kube.ts';
import { withWarren } from './support/warren.ts';

describe('upgrades', function () {
  this.timeout(1_800_000);
  const warren = withWarren();
  const charts = withCharts('order');
  const upgrade = (release: string, ...more: string[]) =>
    helm([
      ...['upgrade', release, charts.path(release), '--reset-then-reuse-values', '--wait', '--timeout', '5m'],
      ...more,
    ]);
  const logLevel = async () => (await get('configmap', 'order')).data.LOG_LEVEL;

  it('helm upgrade and helm rollback of one service under load: no request fails, nothing is lost or doubled', async () => {
    const before = await logLevel();
    const others = async () => (await podsOf()).filter(({ name }) => !name.startsWith('order-'));
    const untouched = await others();
    await warren.underLoad({ share: 0.5 }, async () => {
      await upgrade('order', '--set', 'logLevel=warn');
      expect(await logLevel()).to.equal('warn');
      await helm(['rollback', 'order', '--wait', '--timeout', '5m']);
      expect(await logLevel()).to.equal(before);
    });
    expect(
      (await others()).map(({ uid }) => uid),
      'pods of others',
    ).to.have.members(untouched.map(({ uid }) => uid));
  });

  it('an upgrade that can not come up takes nothing out of service', async () => {
    const { uid } = (await podsOf('order'))[0] ?? {};
    await warren.underLoad({ share: 0.2 }, async () => {
      const failure = await helm([
        ...[
          'upgrade',
          'order',
          charts.path('order'),
          '--reset-then-reuse-values',
          '--wait',
          '--timeout',
          '20s',
        ],
        ...['--set', 'config.PAYMENT_TIMEOUT=soon'],
      ]).catch(({ message }: Error) => message);
      expect(failure).to.match(/UPGRADE FAILED/);
      expect((await podsOf('order')).filter(({ ready }) => ready).map((pod) => pod.uid)).to.deep.equal([uid]);
      await helm(['rollback', 'order', '--wait', '--timeout', '5m']);
    });
  });

  it('of the broker, which begins anew: passwords and messages stay', async () => {
    const passwords = () => Promise.all(SERVICES.map((service) => secret(`${service}-amqp`, 'password')));
    const before = await passwords();
    const [{ uid } = {}] = await podsOf('rabbitmq');
    await warren.underLoad({ share: 0.5 }, async () => {
      await upgrade('rabbitmq', '--set', 'config.logLevel=warning');
      await rolledOut('statefulset/rabbitmq');
      expect((await podsOf('rabbitmq'))[0]?.uid, 'the pod').not.to.equal(uid);
      await helm(['rollback', 'rabbitmq', '--wait', '--timeout', '5m']);
      await rolledOut('statefulset/rabbitmq');
    });
    expect(await passwords()).to.deep.equal(before);
  });

  it('of broker and database that change nothing: no pod begins anew, no password changes', async () => {
    const passwords = () =>
      kubectl(['get', 'secret', '-l', 'app.kubernetes.io/part-of=warren', '-o', 'jsonpath={.items[*].data}']);
    const before = [await passwords(), (await podsOf()).map(({ uid }) => uid).sort()];
    await upgrade('rabbitmq');
    await upgrade('postgresql');
    expect([await passwords(), (await podsOf()).map(({ uid }) => uid).sort()]).to.deep.equal(before);
  });
});
