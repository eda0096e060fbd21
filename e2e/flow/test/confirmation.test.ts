import { eventually } from '@warren/testkit';
import { expect } from 'chai';
import { createClient, type Replica, signUpOnce, withSystem } from '../../support/src/index.ts';

const BROWSER = { accept: 'text/html' };

describe('a sign-up with an unconfirmed address, through the gateway', () => {
  const system = withSystem({ services: ['user', 'order', 'email', 'gateway'], mail: true });
  const client = createClient();
  let gateway: Replica;

  before('the services', async function () {
    this.timeout(90_000);
    gateway = await system.replica('gateway');
    await system.run('email', {
      EMAIL_CONFIRMATION: 'on',
      EMAIL_CONFIRMATION_KEY: 'k'.repeat(32),
      PUBLIC_URL: gateway.url,
      EMAILS_PER_HOUR: '5',
    });
    await system.run('user');
    await system.run('order');
    gateway.start();
    await gateway.ready();
  });
  after(() => client.close());

  it('sends one e-mail for any number of orders; the others wait for the confirmation, and then for EMAILS_PER_HOUR', async function () {
    this.timeout(90_000);
    const { user } = await signUpOnce(client, system.ledger, gateway.url, { id: 'unconfirmed' });
    const userId = user?.id as string;
    for (let n = 0; n < 9; n += 1)
      await eventually(async () => {
        const body = JSON.stringify({ userId, productName: 'Buy at https://evil.example now', price: 1 });
        const headers = { 'content-type': 'application/json' };
        const response = await fetch(`${gateway.url}/orders`, { method: 'POST', headers, body });
        expect(response.status).to.equal(201);
      });
    const states = async (wanted: Record<string, number>) =>
      eventually(async () => {
        const { body } = await client.send('GET', `${gateway.url}/emails?userId=${userId}&limit=100`);
        const found: Record<string, number> = {};
        for (const { status, reason } of body.items) {
          const state = [status, reason].filter(Boolean).join(' ');
          found[state] = (found[state] ?? 0) + 1;
        }
        expect(found).to.deep.equal(wanted);
      });
    // Of these orders, and of the welcome order.
    await states({ sent: 1, 'pending unconfirmed': 10 });
    const mails = system.mailbox?.mails ?? [];
    expect(mails.map(({ to }) => to)).to.deep.equal([user?.email]);
    const text = mails[0]?.source.replaceAll('=\r\n', '').replaceAll('=3D', '=') ?? '';
    const link = /http:\/\/\S+token=[\w-]{72}/.exec(text)?.[0] as string;
    expect(link.startsWith(`${gateway.url}/emails/confirm?token=`)).to.equal(true);

    const page = await fetch(link, { headers: BROWSER });
    expect([page.status, page.headers.get('content-type')]).to.deep.equal([200, 'text/html; charset=utf-8']);
    expect(page.headers.get('content-security-policy')).to.contain("form-action 'self'");
    await states({ sent: 1, 'pending unconfirmed': 10 });
    const headers = { ...BROWSER, 'content-type': 'application/x-www-form-urlencoded' };
    const pressed = await fetch(link, { method: 'POST', headers });
    expect([pressed.status, (await pressed.text()).includes('is confirmed')]).to.deep.equal([200, true]);
    await states({ sent: 5, 'pending postponed': 6 });
    for (const { subject, source } of mails) {
      expect(subject).to.not.contain('evil');
      expect(source).to.not.match(/https:\/\/evil|evil\.example/);
    }
  });
});
