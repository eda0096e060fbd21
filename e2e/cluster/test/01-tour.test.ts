import { eventually } from '@warren/testkit';
import { expect } from 'chai';
import { type Forward, forward, helm, kubectl, RELEASES } from './support/kube.ts';
import { withWarren } from './support/warren.ts';

describe('Warren in the cluster', () => {
  withWarren();

  for (const release of RELEASES) {
    it(`helm test ${release} passes`, async () => {
      expect(await helm(['test', release, '--timeout', '3m'])).to.match(/Phase: +Succeeded/);
    });
  }

  describe('through kubectl port-forward', () => {
    const forwards: Forward[] = [];
    const ways: Record<string, string> = {};

    before('svc/user and svc/gateway', async () => {
      for (const service of ['user', 'gateway']) {
        const way = await forward(`svc/${service}`, 80);
        forwards.push(way);
        ways[service] = `http://${way.host}:${way.port}`;
      }
    });
    after(() => {
      for (const way of forwards) way.close();
    });

    const ask = async (service: string, path: string, body?: object) => {
      const response = await fetch(`${ways[service]}${path}`, {
        method: body === undefined ? 'GET' : 'POST',
        headers: body === undefined ? {} : { 'content-type': 'application/json' },
        body: body && JSON.stringify(body),
        signal: AbortSignal.timeout(20_000),
      });
      // biome-ignore lint/suspicious/noExplicitAny: a test looks into it as it likes
      return { status: response.status, body: (await response.json()) as any };
    };

    for (const [service, path] of [
      ['user', '/users/save'],
      ['gateway', '/users/save'],
      ['gateway', '/create_user'],
    ] as const) {
      it(`POST ${path} at ${service} ends in a session, a welcome order that is paid, and e-mails`, async () => {
        const person = { name: 'Ada', email: `tour-${crypto.randomUUID()}@example.com` };
        const signUp = await ask(service, path, person);
        expect(signUp).to.deep.include({ status: 201 });
        expect(signUp.body).to.include(person);
        const { id } = signUp.body;

        await eventually(
          async () => {
            const { body: overview } = await ask('gateway', `/overview/${id}`);
            expect(overview.missing).to.deep.equal([]);
            expect(overview.user).to.deep.equal(signUp.body);
            expect(overview.sessions).to.have.length(1);
            expect(overview.orders).to.have.length(1);
            expect(overview.orders[0]).to.include({ productName: 'Welcome kit', price: 1, status: 'paid' });
            expect(overview.payments).to.have.length(1);
            expect(overview.payments[0]).to.include({ amount: 1, status: 'processed' });
            const { body: emails } = await ask('gateway', `/emails?userId=${id}`);
            expect(
              emails.items.map((email: { template: string; status: string }) => [
                email.template,
                email.status,
              ]),
            ).to.have.deep.members([
              ['welcome', 'sent'],
              ['order-received', 'sent'],
              ['order-confirmed', 'sent'],
            ]);
          },
          { timeout: 60_000, interval: 250 },
        );
      });
    }

    it('an order above the limit is cancelled again', async () => {
      const person = { name: 'Grace', email: `tour-${crypto.randomUUID()}@example.com` };
      const { body: user } = await ask('gateway', '/users', person);
      const order = { userId: user.id, productName: 'Island', price: 1_000.01 };
      const { orderId } = await eventually(
        async () => {
          const placed = await ask('gateway', '/orders', order);
          expect(placed.status, 'the sign-up is seconds old').to.equal(201);
          return placed.body;
        },
        { timeout: 30_000, interval: 500 },
      );
      await eventually(
        async () => {
          const { body } = await ask('gateway', `/orders/${orderId}`);
          expect(body.status).to.equal('cancelled');
          const { body: payments } = await ask('gateway', `/payments?orderId=${orderId}`);
          expect(payments.items[0]).to.include({ status: 'failed', reason: 'limit_exceeded' });
        },
        { timeout: 30_000, interval: 250 },
      );
    });

    it('the gateway describes the whole', async () => {
      const { body } = await ask('gateway', '/openapi.json');
      expect(body.openapi).to.match(/^3\.1/);
      expect(Object.keys(body.paths)).to.include.members(['/users', '/sessions', '/orders', '/payments']);
    });
  });

  it('every pod runs under the restricted standard, which the namespace enforces', async () => {
    const enforced = await kubectl([
      ...['get', 'namespace', 'warren'],
      ...['-o', 'jsonpath={.metadata.labels.pod-security\\.kubernetes\\.io/enforce}'],
    ]);
    expect(enforced).to.equal('restricted');
    const pod = (securityContext: object) =>
      JSON.stringify({
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: 'planted' },
        spec: { containers: [{ name: 'planted', image: 'planted', securityContext }] },
      });
    const create = (securityContext: object) =>
      kubectl(['create', '--dry-run=server', '-f', '-'], { input: pod(securityContext) });
    const root = await create({ runAsUser: 0 }).catch(({ message }: Error) => message);
    expect(root).to.match(/violates PodSecurity "restricted:latest".*runAsNonRoot/s);
    const restricted = {
      runAsNonRoot: true,
      allowPrivilegeEscalation: false,
      capabilities: { drop: ['ALL'] },
      seccompProfile: { type: 'RuntimeDefault' },
    };
    expect(await create(restricted)).to.contain('created (server dry run)');
  });
});
