// What an e-mail is: one of its kind about one thing, sent as soon as it is known to whom.
import {
  type CounterDefinition,
  type Kysely,
  newId,
  type Page,
  type Paging,
  requireCursor,
  sql,
  toPage,
  type Work,
} from '@warren/chassis';
import {
  emailSent,
  type OrderCancelled,
  type OrderCreated,
  type PaymentRefunded,
  type UserCreated,
} from '@warren/contracts';
import type { EmailConfig } from './config.ts';
import type { Message, Refusal } from './delivery.ts';
import { type TemplateName, templates } from './templates/index.ts';
import { moneyText, oneLine, reasonText } from './text.ts';

export type Status = 'pending' | 'sent' | 'failed';

export interface EmailSchema {
  users: {
    id: string;
    name: string;
    email: string;
  };
  emails: {
    id: string;
    user_id: string;
    template: TemplateName;
    /** What it is about: the user, the order or the payment. One e-mail of a template about each: unique. */
    reference: string;
    /** What the template names besides the user. */
    facts: object;
    subject: string;
    /** Absent while the user is not known yet: the e-mail waits. */
    recipient: string | null;
    status: Status;
    refusal: string | null;
    refusals: number;
    created_at: Date;
    sent_at: Date | null;
  };
}

export interface Email {
  id: string;
  userId: string;
  /** Absent while the user is not known yet. */
  to?: string;
  template: TemplateName;
  subject: string;
  status: Status;
  /** ISO 8601, UTC */
  sentAt?: string;
}

type EmailWork = Work<EmailSchema, EmailConfig>;

/** The pending row that sends an e-mail; its key is the e-mail's id. */
export const SEND = 'email.send';

/** What the mail server refused for good: offered `again` later, or `given_up`. */
export const refusals: CounterDefinition<{ outcome: 'again' | 'given_up' }> = {
  name: 'emails_refused_total',
  help: 'E-mails that the mail server refused for good or cannot take, by what comes of them.',
  labels: { outcome: ['again', 'given_up'] },
};

/** ms until an e-mail that was refused for good is offered again; after the last one it is given up. */
const AFTER_REFUSAL = [1, 10, 60, 6 * 60, 24 * 60, 24 * 60, 24 * 60].map((minutes) => minutes * 60_000);

/** Learns of a user and welcomes them; whatever has waited for them is sent. */
export async function welcomeUser(work: EmailWork, { userId, name, email }: UserCreated): Promise<void> {
  await lockUser(work, userId);
  await work.transaction
    .insertInto('users')
    .values({ id: userId, name: oneLine(name), email })
    .onConflict((conflict) => conflict.column('id').doNothing())
    .execute();
  await write(work, { userId, template: 'welcome', reference: userId, facts: {} });
  const waited = await work.transaction
    .updateTable('emails')
    .from('users')
    .set((expression) => ({ recipient: expression.ref('users.email') }))
    .whereRef('users.id', '=', 'emails.user_id')
    .where('emails.user_id', '=', userId)
    .where('emails.recipient', 'is', null)
    .returning('emails.id')
    .execute();
  for (const { id } of waited) await work.schedule(SEND, { key: id });
}

export const announceReceivedOrder = (work: EmailWork, order: OrderCreated) =>
  announce(work, 'order-received', order, orderFacts(order));

export const announceConfirmedOrder = (work: EmailWork, order: OrderCreated) =>
  announce(work, 'order-confirmed', order, orderFacts(order));

export const announceCancelledOrder = (work: EmailWork, order: OrderCancelled) =>
  announce(work, 'order-cancelled', order, { ...orderFacts(order), reason: reasonText(order.reason) });

export async function announceRefund(work: EmailWork, payment: PaymentRefunded): Promise<void> {
  const { userId, paymentId, orderId, amount, currency, reason } = payment;
  await lockUser(work, userId);
  const facts = { orderId, amount: moneyText(amount, currency), reason: reasonText(reason) };
  await write(work, { userId, template: 'payment-refunded', reference: paymentId, facts });
}

async function announce(
  work: EmailWork,
  template: TemplateName,
  { userId, orderId }: OrderCreated,
  facts: object,
): Promise<void> {
  await lockUser(work, userId);
  await write(work, { userId, template, reference: orderId, facts });
}

const orderFacts = ({ orderId, productName, price, currency }: OrderCreated) => ({
  orderId,
  productName: oneLine(productName),
  amount: moneyText(price, currency),
});

/**
 * Makes whoever tells of a user and whoever writes to them take turns. Else an e-mail that does not see the user yet, and the
 * user's news that do not see the e-mail yet, could commit side by side, and the e-mail would wait for ever.
 */
async function lockUser(work: EmailWork, userId: string): Promise<void> {
  await sql`select pg_advisory_xact_lock(hashtext('email.user'), hashtext(${userId}::uuid::text))`.execute(
    work.transaction,
  );
}

/** Writes an e-mail, unless there is one of its kind, and hands it to the worker; while its user is not known, it waits. */
async function write(
  work: EmailWork,
  email: { userId: string; template: TemplateName; reference: string; facts: object },
): Promise<void> {
  const { userId, template, reference, facts } = email;
  const row = await work.transaction
    .insertInto('emails')
    .values((expression) => ({
      id: newId(),
      user_id: userId,
      template,
      reference,
      facts,
      subject: templates[template].subject(facts),
      recipient: expression.selectFrom('users').select('email').where('id', '=', userId),
      status: 'pending',
      refusals: 0,
      created_at: work.now(),
    }))
    .onConflict((conflict) => conflict.constraint('emails_one_of_a_kind').doNothing())
    .returning(['id', 'recipient'])
    .executeTakeFirst();
  if (row !== undefined && row.recipient !== null) await work.schedule(SEND, { key: row.id });
}

/** An e-mail as it is to be sent, the same at every attempt; `undefined` when there is none, or nobody to send it to. */
export async function messageOf(database: Kysely<EmailSchema>, id: string): Promise<Message | undefined> {
  const row = await database
    .selectFrom('emails')
    .innerJoin('users', 'users.id', 'emails.user_id')
    .select(['users.name', 'emails.recipient', 'emails.template', 'emails.facts', 'emails.created_at'])
    .where('emails.id', '=', id)
    .executeTakeFirst();
  if (row === undefined || row.recipient === null) return undefined;
  const { name, recipient, template, facts, created_at: date } = row;
  return {
    id,
    to: { name, address: recipient },
    date,
    template,
    ...templates[template].render({ ...facts, name: name || 'there' }),
  };
}

/** Writes down that an e-mail was handed over, and says so in `email.sent`. */
export async function markSent(work: EmailWork, id: string): Promise<void> {
  const row = await work.transaction
    .updateTable('emails')
    .set({ status: 'sent', sent_at: work.now() })
    .where('id', '=', id)
    .where('status', '=', 'pending')
    .returning(['user_id', 'template'])
    .executeTakeFirst();
  if (row === undefined) return;
  await work.emit(emailSent, { emailId: id, userId: row.user_id, template: row.template }, { aggregate: id });
}

/**
 * Writes down that the mail server refused an e-mail for good, and has it offered again much later: what looks permanent may
 * be a full mailbox or a wrong setting of the server's. After a few days, or at once where nothing would change, it fails.
 */
export async function markRefused(work: EmailWork, id: string, { reason, again }: Refusal): Promise<void> {
  const refusal = oneLine(reason).slice(0, 1_000);
  const row = await work.transaction
    .updateTable('emails')
    .set((expression) => ({ refusal, refusals: expression('refusals', '+', 1) }))
    .where('id', '=', id)
    .where('status', '=', 'pending')
    .returning('refusals')
    .executeTakeFirst();
  if (row === undefined) return;
  const delay = again ? AFTER_REFUSAL[row.refusals - 1] : undefined;
  if (delay === undefined) {
    await work.transaction.updateTable('emails').set({ status: 'failed' }).where('id', '=', id).execute();
    work.count(refusals, { outcome: 'given_up' });
    work.log.error({ code: 'email_given_up', refusal }, 'an e-mail is refused and given up');
    return;
  }
  const at = new Date(work.now().getTime() + delay);
  await work.schedule(SEND, { key: id, at });
  work.count(refusals, { outcome: 'again' });
  work.log.warn({ code: 'email_refused', refusal, at }, 'the mail server refuses an e-mail');
}

/** Oldest first. */
export async function emailsOf(
  database: Kysely<EmailSchema>,
  userId: string,
  { limit, after }: Paging,
): Promise<Page<Email>> {
  const own = database.selectFrom('emails').selectAll().where('user_id', '=', userId);
  await requireCursor(after, (id) => own.where('id', '=', id).executeTakeFirst());
  const rows = await own
    .$if(after !== undefined, (query) => query.where('id', '>', after as string))
    .orderBy('id')
    .limit(limit + 1)
    .execute();
  return toPage(rows, limit, toEmail);
}

const toEmail = (row: EmailSchema['emails']): Email => ({
  id: row.id,
  userId: row.user_id,
  ...(row.recipient !== null && { to: row.recipient }),
  template: row.template,
  subject: row.subject,
  status: row.status,
  ...(row.sent_at !== null && { sentAt: row.sent_at.toISOString() }),
});
