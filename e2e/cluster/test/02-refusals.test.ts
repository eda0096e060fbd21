import { type ChannelModel, type ConfirmChannel, connect } from 'amqplib';
import { expect } from 'chai';
import { withCharts } from './support/charts.ts';
import { type Forward, forward, helm, kubectl, NAMESPACE, secret } from './support/kube.ts';
import { refusal } from './support/run.ts';
import { withWarren } from './support/warren.ts';

describe('what is refused', () => {
  withWarren();

  describe('by the broker, to the user of a service', () => {
    let way: Forward;
    let connection: ChannelModel;

    before(async () => {
      way = await forward('svc/rabbitmq', 5672);
      const url = new URL(await secret('order-amqp', 'url'));
      url.host = `${way.host}:${way.port}`;
      connection = await connect(url.href);
      connection.on('error', () => {});
    });
    after(async () => {
      await connection?.close();
      way?.close();
    });

    /** What the broker closed the channel for; `nothing` when it did not. */
    async function attempt(deed: (channel: ConfirmChannel) => unknown): Promise<string> {
      const channel = await connection.createConfirmChannel();
      const closed = new Promise<string>((resolve) =>
        channel.on('error', ({ message }: Error) => resolve(message)),
      );
      try {
        await deed(channel);
        await Promise.race([channel.waitForConfirms(), closed.then(Promise.reject.bind(Promise))]);
        await channel.close();
        return 'nothing';
      } catch {
        return closed;
      }
    }

    const REFUSED = /ACCESS_REFUSED|403/;
    const event = Buffer.from('{}');

    it('its own queues, the shared exchanges and its own events are not', async () => {
      expect(await attempt((channel) => channel.checkQueue('order.user.created'))).to.equal('nothing');
      expect(
        await attempt((channel) =>
          channel.assertQueue('order.planted', { autoDelete: true, exclusive: true }),
        ),
      ).to.equal('nothing');
      expect(await attempt((channel) => channel.checkExchange('events'))).to.equal('nothing');
      expect(await attempt((channel) => void channel.publish('events', 'order.planted.v1', event))).to.equal(
        'nothing',
      );
    });

    for (const [title, deed] of [
      ['declaring a queue of another', (channel) => channel.assertQueue('payment.planted')],
      ['deleting a queue of another', (channel) => channel.deleteQueue('payment.order.created')],
      ['emptying a queue of another', (channel) => channel.purgeQueue('payment.order.created')],
      ['reading a queue of another', (channel) => channel.consume('payment.order.created', () => {})],
      ['reading dead letters of another', (channel) => channel.get('payment.order.created.dlq')],
      [
        'writing to a queue of another, past its exchange',
        (channel) => void channel.sendToQueue('payment.order.created', event),
      ],
      [
        "writing to another's exchange of returns",
        (channel) => void channel.publish('payment.return', 'payment.order.created', event),
      ],
      ["forging another's event", (channel) => void channel.publish('events', 'payment.processed.v1', event)],
      [
        "binding another's queue",
        (channel) => channel.bindQueue('payment.order.created', 'events', 'user.created.v1'),
      ],
      [
        'hearing what is asked of another',
        (channel) => channel.bindQueue('order.rpc', 'rpc', 'payment.list.v1'),
      ],
      ['hearing every event', (channel) => channel.bindQueue('order.user.created', 'events', '#')],
      [
        'hearing an event that it does not subscribe to',
        (channel) => channel.bindQueue('order.user.created', 'events', 'session.opened.v1'),
      ],
      [
        'calling a method whose contract does not name it',
        (channel) => void channel.publish('rpc', 'user.find.v1', event),
      ],
      ['declaring a shared exchange', (channel) => channel.assertExchange('events-2', 'topic')],
    ] as [string, (channel: ConfirmChannel) => unknown][]) {
      it(title, async () => {
        expect(await attempt(deed)).to.match(REFUSED);
      });
    }

    it('the management API', async () => {
      const api = await forward('svc/rabbitmq', 15672);
      try {
        const { username, password } = new URL(await secret('order-amqp', 'url'));
        const response = await fetch(`http://${api.host}:${api.port}/api/queues`, {
          headers: { authorization: `Basic ${btoa(`${username}:${password}`)}` },
        });
        expect(response.status).to.equal(401);
      } finally {
        api.close();
      }
    });
  });

  describe('by the database, to the role of a service', () => {
    /** As the service does it: by its password, over the network. */
    const asOrder = async (database: string, statement: string) => {
      const password = await secret('order-database', 'password');
      return kubectl(
        [
          ...['exec', '-i', 'statefulset/postgresql', '-c', 'postgresql', '--'],
          ...['psql', '-qXAt', '-v', 'ON_ERROR_STOP=1'],
          `host=postgresql-0 user=order password=${password} dbname=${database}`,
        ],
        { input: statement },
      ).catch(({ message }: Error) => message);
    };

    it('its own database is not', async () => {
      expect(await asOrder('warren_order', 'select 1 from orders limit 0; select 7;')).to.equal('7\n');
    });

    for (const database of ['warren_user', 'warren_payment', 'postgres', 'template1'])
      it(`connecting to ${database}`, async () => {
        expect(await asOrder(database, 'select 1;')).to.match(/permission denied for database/);
      });

    it('making a database, or a role', async () => {
      expect(await asOrder('warren_order', 'create database planted;')).to.match(/permission denied/);
      expect(await asOrder('warren_order', 'create role planted;')).to.match(/permission denied/);
    });
  });

  describe('by helm install', () => {
    const charts = withCharts('user');

    for (const [title, chart, values, said] of [
      ['a key that there is not', 'user', ['replica=2'], "'replica' not allowed"],
      ['a key that there is not, further down', 'user', ['image.tga=1'], "'tga' not allowed"],
      ['a text for a number', 'user', ['replicas=two'], "'/replicas': got string, want null or integer"],
      ['negative replicas', 'user', ['replicas=-1'], "'/replicas': minimum: got -1"],
      [
        'a Secret that is missing',
        'user',
        [],
        'the Secret "planted-amqp" does not exist in the namespace "warren"',
      ],
      [
        'a Secret that is missing, by its name',
        'user',
        ['amqp.enabled=false', 'database.existingSecret=planted'],
        'database.existingSecret: the Secret "planted" does not exist',
      ],
      [
        'a Secret that lacks its key',
        'user',
        ['amqp.enabled=false', 'database.existingSecret=user-database', 'database.key=uri'],
        'database.existingSecret: the Secret "user-database" in the namespace "warren" has no key "uri"',
      ],
      ['an even number of nodes', 'rabbitmq', ['replicas=2'], 'replicas: must be odd'],
      [
        "an operator's Secret that is missing",
        'rabbitmq',
        ['auth.existingSecret=planted'],
        'auth.existingSecret: the Secret "planted" does not exist',
      ],
      ['a size that is none', 'postgresql', ['persistence.size=big'], "'/persistence/size'"],
      [
        'a volume of another size than the one that is there',
        'postgresql',
        ['persistence.size=99Gi'],
        'and Kubernetes cannot change it to 99Gi',
      ],
      [
        'no volume, where there is one',
        'rabbitmq',
        ['persistence.enabled=false'],
        'persistence.enabled: differs from the existing StatefulSet',
      ],
    ] as [string, string, string[], string][]) {
      it(title, async () => {
        const name = chart === 'user' ? ['--set', 'name=planted'] : [];
        const message = await refusal('helm', [
          ...['install', 'planted', charts.path(chart), '--namespace', NAMESPACE, ...name],
          ...values.flatMap((value) => ['--set', value]),
        ]);
        expect(message).to.contain(said);
        expect(await helm(['list', '--all', '--short'])).not.to.match(/^planted$/m);
      });
    }
  });
});
