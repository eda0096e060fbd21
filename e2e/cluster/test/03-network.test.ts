import { expect } from 'chai';
import { get, kubectl } from './support/kube.ts';
import { withWarren } from './support/warren.ts';

/** Of a name and a port, as a pod sees it: `open`, or why not. */
const CONNECT = `
  const [host, port] = process.argv.slice(1);
  const socket = require('node:net').connect({ host, port: Number(port), timeout: 4000 });
  const end = (word) => { console.log(word); process.exit(0); };
  socket.on('connect', () => end('open')).on('timeout', () => end('timeout')).on('error', ({ code }) => end(code));
`;

const connectFrom = async (deployment: string, host: string, port: number) =>
  (
    await kubectl([
      ...['exec', `deployment/${deployment}`, '--', 'node', '-e', CONNECT, '--', host, String(port)],
    ])
  ).trim();

describe('NetworkPolicies', () => {
  withWarren();
  let enforced = false;

  before('whether this cluster enforces them', async () => {
    // A pod that no policy allows anything, in a namespace where nothing is allowed that no policy says.
    const { spec } = await get('deployment', 'gateway');
    const { image } = spec.template.spec.containers[0];
    const { clusterIP } = (await get('service', 'gateway')).spec;
    const security = {
      runAsNonRoot: true,
      runAsUser: 1000,
      allowPrivilegeEscalation: false,
      capabilities: { drop: ['ALL'] },
      seccompProfile: { type: 'RuntimeDefault' },
    };
    const name = 'nobody';
    const container = {
      name,
      image,
      command: ['node', '-e', CONNECT, '--', clusterIP, '80'],
      securityContext: security,
    };
    const pod = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name },
      spec: { restartPolicy: 'Never', containers: [container] },
    };
    await kubectl(['delete', 'pod', name, '--ignore-not-found']);
    await kubectl(['create', '-f', '-'], { input: JSON.stringify(pod) });
    await kubectl(['wait', `pod/${name}`, '--for=jsonpath={.status.phase}=Succeeded', '--timeout=120s']);
    const answer = (await kubectl(['logs', name])).trim();
    await kubectl(['delete', 'pod', name]);
    enforced = answer !== 'open';
    if (!enforced)
      console.log(
        '    This cluster does not enforce NetworkPolicies: a pod that none allows anything reached the gateway. What they deny is not tested.',
      );
  });

  it('let every service reach its broker and its database, and the gateway the services', async () => {
    for (const service of ['user', 'session', 'order', 'payment', 'email']) {
      expect(await connectFrom(service, 'rabbitmq', 5672), `${service} → rabbitmq`).to.equal('open');
      expect(await connectFrom(service, 'postgresql', 5432), `${service} → postgresql`).to.equal('open');
      expect(await connectFrom('gateway', service, 80), `gateway → ${service}`).to.equal('open');
    }
    expect(await connectFrom('gateway', 'rabbitmq', 5672)).to.equal('open');
  });

  for (const [from, to, port] of [
    ['order', 'payment', 80],
    ['user', 'session', 80],
    ['order', 'gateway', 80],
    ['gateway', 'postgresql', 5432],
    ['order', 'rabbitmq', 15672],
    ['order', 'user', 9000],
  ] as const) {
    it(`deny ${from} the way to ${to}:${port}`, async function () {
      if (!enforced) this.skip();
      expect(await connectFrom(from, to, port)).not.to.equal('open');
    });
  }
});
