import { expect } from 'chai';
import {
  type Audited,
  type Auditor,
  correlations,
  count,
  ordersOf,
  paymentsOf,
  tasks,
  userIds,
} from './auditor.ts';
import { differences, none, told, unique } from './differences.ts';

interface Email {
  id: string;
  user_id: string;
  template: string;
  /** Id of the user, the order or the payment it is about. */
  reference: string;
  recipient: string;
}

/** One e-mail of each kind about each thing, sent; each with one Message-ID at the mail server, however often it came there. */
export const email: Auditor = {
  async settled(system) {
    expect(await count(system, 'email', "emails where status <> 'sent'"), 'e-mails not sent').to.equal(0);
    expect(await count(system, 'email', 'emails'), 'e-mails').to.be.at.least((await wanted(system)).length);
  },

  async check(system) {
    const emails = await system.sql<Email>(
      'email',
      'select id, user_id, template, reference, recipient from emails',
    );
    expect(differences(emails.map(nameOf), (await wanted(system)).map(nameOf)), 'e-mails').to.deep.equal(
      none,
    );
    const addresses = new Map(system.ledger.map(({ user }) => [user?.id, user?.email]));
    const misled = emails.filter(({ recipient, user_id }) => recipient !== addresses.get(user_id));
    expect(told(misled.map(nameOf)), 'e-mails to the address of another').to.deep.equal([]);
    expect(await tasks(system, 'email'), 'tasks of email').to.deep.equal({});
    if (system.mailbox !== undefined)
      expect(
        differences(
          unique(system.mailbox.mails.map(({ to, messageId }) => `${messageId.split('@')[0]} to ${to}`)),
          emails.map(({ id, recipient }) => `<${id} to ${recipient}`),
        ),
        'Message-IDs at the mail server',
      ).to.deep.equal(none);

    const orders = await ordersOf(system);
    const orderOf = new Map((await paymentsOf(system)).map(({ id, order_id }) => [id, order_id]));
    const { ofUser, ofOrder } = correlations(system, orders);
    return emails.map(({ id, user_id, template, reference }) => ({
      type: 'email.sent',
      about: id,
      // What an order has to say may have waited for its user to be known.
      correlationIds:
        template === 'welcome'
          ? [ofUser(user_id)]
          : [ofOrder(orderOf.get(reference) ?? reference), ofUser(user_id)],
    }));
  },
};

async function wanted(system: Audited): Promise<Pick<Email, 'template' | 'reference' | 'user_id'>[]> {
  const welcomes = userIds(system).map((id) => ({ template: 'welcome', reference: id, user_id: id }));
  const ofOrders = (await ordersOf(system)).flatMap(({ id, user_id, status }) =>
    ['order-received', status === 'paid' ? 'order-confirmed' : 'order-cancelled'].map((template) => ({
      template,
      reference: id,
      user_id,
    })),
  );
  const refunds = (await paymentsOf(system))
    .filter(({ status }) => status === 'refunded')
    .map(({ id, user_id }) => ({ template: 'payment-refunded', reference: id, user_id }));
  return [...welcomes, ...ofOrders, ...refunds];
}

const nameOf = ({
  template,
  reference,
  user_id,
}: Pick<Email, 'template' | 'reference' | 'user_id'>): string => `${template} of ${reference} to ${user_id}`;
