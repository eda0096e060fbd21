// E-mails: one per template and subject, sent once the recipient is known and confirmed.
import {
  type CounterDefinition,
  type Kysely,
  newId,
  type Page,
  type Paging,
  requireCursor,
  sql,
  toPage,
  type WorkContext,
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
import { linkFor } from './links.ts';
import type { EmailSchema, Status } from './schema.ts';
import { type TemplateName, templates } from './templates/index.ts';
import { moneyText, oneLine, reasonText, timeText, unlinked } from './text.ts';

export const REASONS = ['unconfirmed', 'postponed', 'refused'] as const;

export interface Email {
  id: string;
  userId: string;
  /** Missing until the user is known. */
  to?: string;
  template: TemplateName;
  subject: string;
  status: Status;
  /** Why it is pending or failed. */
  reason?: (typeof REASONS)[number];
  /** ISO 8601, UTC */
  sentAt?: string;
}

export type EmailWork = WorkContext<EmailSchema, EmailConfig>;

/** The task that sends an e-mail; its key is the e-mail's id. */
export const SEND = 'email.send';

/** Counts permanent refusals: offered `again` later, or `given_up`. */
export const refusals: CounterDefinition<{ outcome: 'again' | 'given_up' }> = {
  name: 'emails_refused_total',
  help: 'E-mails that the mail server permanently refused or does not support, by what happens next: again (offered again later) or given_up.',
  labels: { outcome: ['again', 'given_up'] },
};

/** Counts e-mails that are not sent at once. */
export const held: CounterDefinition<{ reason: 'unconfirmed' | 'postponed' | 'expired' }> = {
  name: 'emails_held_total',
  help: 'E-mails held back: unconfirmed (waiting for the confirmation of their address), postponed (by EMAILS_PER_HOUR), expired (never confirmed in time).',
  labels: { reason: ['unconfirmed', 'postponed', 'expired'] },
};

/** Delays before a permanently refused e-mail is offered again, ms; after the last one it fails. */
const REFUSAL_DELAYS_MS = [1, 10, 60, 6 * 60, 24 * 60, 24 * 60, 24 * 60].map((minutes) => minutes * 60_000);

/** Stores a user and sends the first e-mail. E-mails that waited for the user are sent, or wait for the confirmation. */
export async function welcomeUser(work: EmailWork, { userId, name, email }: UserCreated): Promise<void> {
  await lockUser(work, userId);
  const confirms = work.config.EMAIL_CONFIRMATION === 'on';
  const user = await work.transaction
    .insertInto('users')
    .values({ id: userId, name: oneLine(name), email, confirmed_at: confirms ? null : work.now() })
    .onConflict((conflict) => conflict.column('id').doNothing())
    .returning('id')
    .executeTakeFirst();
  if (user === undefined) return;
  const template = confirms ? 'confirmation' : 'welcome';
  await write(work, { userId, template, reference: userId, facts: {} });
  const waited = await work.transaction
    .updateTable('emails')
    .from('users')
    .set((expression) => ({ recipient: expression.ref('users.email'), unconfirmed: true }))
    .whereRef('users.id', '=', 'emails.user_id')
    .where('emails.user_id', '=', userId)
    .where('emails.recipient', 'is', null)
    .returning(['emails.id', 'emails.created_at', 'emails.unconfirmed', 'emails.slot_at'])
    .execute();
  if (confirms) for (const email of waited) await schedule(work, email);
  else if (waited.length > 0) await release(work, userId);
}

/** Writes another confirmation to a user, with a new `reference`. */
export const writeConfirmation = (work: EmailWork, userId: string) =>
  write(work, { userId, template: 'confirmation', reference: newId(), facts: {} });

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
 * Serializes the transactions about one user. Otherwise an e-mail that does not see the user yet, and the user's event that does
 * not see the e-mail yet, could commit concurrently, and the e-mail would wait forever.
 */
export async function lockUser(work: EmailWork, userId: string): Promise<void> {
  await sql`select pg_advisory_xact_lock(hashtext('email.user'), hashtext(${userId}::uuid::text))`.execute(
    work.transaction,
  );
}

/**
 * Writes an e-mail and schedules it, unless it exists. It waits if the user is unknown or the address is not confirmed; otherwise
 * it takes a slot of the address.
 */
async function write(
  work: EmailWork,
  email: { userId: string; template: TemplateName; reference: string; facts: object },
): Promise<void> {
  const { userId, template, reference, facts } = email;
  const now = work.now();
  const { rows } = await sql<Scheduled>`
    with owner as (
      select email, confirmed_at is null and ${template}::text <> 'confirmation' as unconfirmed
      from users where id = ${userId}::uuid)
    insert into emails (id, user_id, template, reference, facts, subject, status, created_at, recipient, unconfirmed, slot_at)
    select ${newId()}::uuid, ${userId}::uuid, ${template}::text, ${reference}::uuid, ${JSON.stringify(facts)}::jsonb,
           ${templates[template].subject}::text, 'pending', ${now}::timestamptz, email, coalesce(unconfirmed, false),
           case when not unconfirmed
             then (take_slots(lower(email), 1, ${work.config.EMAILS_PER_HOUR}::integer, ${now}::timestamptz))[1] end
    from (values (1)) as one left join owner on true
    -- A duplicate takes no slot.
    where not exists (select from emails where template = ${template}::text and reference = ${reference}::uuid)
    on conflict on constraint emails_one_of_a_kind do nothing
    returning id, created_at, unconfirmed, slot_at`.execute(work.transaction);
  for (const row of rows) await schedule(work, row);
}

type Scheduled = Pick<EmailSchema['emails'], 'id' | 'created_at' | 'unconfirmed' | 'slot_at'>;

/** Schedules an e-mail: for its slot or, while its address is not confirmed, for the end of its waiting time. */
async function schedule(work: EmailWork, { id, created_at, unconfirmed, slot_at }: Scheduled): Promise<void> {
  if (unconfirmed) {
    const at = new Date(created_at.getTime() + work.config.EMAIL_CONFIRMATION_TTL);
    await work.schedule(SEND, { key: id, at });
    work.count(held, { reason: 'unconfirmed' });
  } else if (slot_at !== null) await postpone(work, id, slot_at);
}

/** Schedules an e-mail for that time, or for now if it has passed. */
async function postpone(work: EmailWork, id: string, at: Date): Promise<void> {
  const isLater = at > work.now();
  await work.schedule(SEND, { key: id, ...(isLater && { at }) });
  if (isLater) work.count(held, { reason: 'postponed' });
}

/** Releases the e-mails that wait for a user's confirmation, in order; each takes a slot. */
export async function release(work: EmailWork, userId: string): Promise<void> {
  const { rows } = await sql<Scheduled>`
    with waiting as (
      select id, row_number() over (order by id) as place from emails
      where user_id = ${userId}::uuid and status = 'pending' and unconfirmed),
    taken as (
      select take_slots(lower(email), (select count(*)::integer from waiting),
                        ${work.config.EMAILS_PER_HOUR}::integer, ${work.now()}::timestamptz) as slots
      from users where id = ${userId}::uuid)
    update emails set unconfirmed = false, slot_at = taken.slots[waiting.place] from waiting, taken
    where emails.id = waiting.id and emails.status = 'pending' and emails.unconfirmed
    returning emails.id, emails.created_at, emails.unconfirmed, emails.slot_at`.execute(work.transaction);
  for (const row of rows) {
    // It was scheduled for the end of its waiting time.
    work.discard(SEND, row.id);
    await schedule(work, row);
  }
}

/** The outcome of an attempt to send an e-mail. */
export type Outcome =
  | { kind: 'sent' }
  | ({ kind: 'refused' } & Refusal)
  /** The address reached EMAILS_PER_HOUR. */
  | { kind: 'postponed'; at: Date }
  /** The waiting time is over, and the address is not confirmed. */
  | { kind: 'unconfirmed' };

/** @returns the message, the same at every attempt except for the expiry of its link; or why it is not sent now */
export async function prepare(
  database: Kysely<EmailSchema>,
  config: EmailConfig,
  id: string,
): Promise<{ kind: 'ready'; message: Message } | Outcome> {
  const row = await database
    .selectFrom('emails')
    .innerJoin('users', 'users.id', 'emails.user_id')
    .select(['users.name', 'emails.user_id', 'emails.recipient', 'emails.template', 'emails.facts'])
    .select(['emails.created_at', 'emails.unconfirmed', 'emails.slot_at'])
    // A slot expires after an hour: otherwise everything due during an outage of the mail server would be sent at once.
    .select(
      sql<boolean>`emails.slot_at is null or emails.slot_at < now() - interval '1 hour'`.as('needsSlot'),
    )
    .where('emails.id', '=', id)
    .where('emails.status', '=', 'pending')
    .executeTakeFirst();
  if (row === undefined || row.recipient === null)
    return { kind: 'refused', reason: 'the e-mail or its recipient no longer exists', again: true };
  if (row.unconfirmed) return { kind: 'unconfirmed' };
  const now = new Date();
  const slot = row.needsSlot ? await takeSlot(database, config, id, now) : null;
  if (slot !== null && slot > now) return { kind: 'postponed', at: slot };

  const { name, user_id: userId, recipient: address, template, facts, created_at: date } = row;
  if (template !== 'confirmation') {
    const content = templates[template].render(unlinkedFacts({ ...facts, name: name || 'there' }));
    return {
      kind: 'ready',
      message: { id, to: { name: unlinked(name), address }, date, template, ...content },
    };
  }
  const expires = new Date(now.getTime() + config.EMAIL_CONFIRMATION_TTL);
  const link = linkFor({ userId, address, expires }, config);
  if (link === undefined)
    return { kind: 'refused', reason: 'EMAIL_CONFIRMATION_KEY or PUBLIC_URL is not set', again: true };
  const content = templates[template].render({ link, until: timeText(expires) });
  return { kind: 'ready', message: { id, to: { name: '', address }, date, template, ...content } };
}

/** Prevents links in text that users wrote, in the text and in the HTML. */
const unlinkedFacts = (facts: object) =>
  Object.fromEntries(Object.entries(facts).map(([name, fact]) => [name, unlinked(String(fact))]));

/** Takes a slot for an e-mail that has none, or an expired one. */
async function takeSlot(
  database: Kysely<EmailSchema>,
  { EMAILS_PER_HOUR: perHour }: EmailConfig,
  id: string,
  now: Date,
): Promise<Date | null> {
  const { rows } = await sql<{ slot_at: Date }>`
    update emails set slot_at = (take_slots(lower(recipient), 1, ${perHour}::integer, ${now}::timestamptz))[1]
    where id = ${id}::uuid and status = 'pending' returning slot_at`.execute(database);
  return rows[0]?.slot_at ?? null;
}

/** Records the outcome of an attempt. */
export async function settle(work: EmailWork, id: string, outcome: Outcome): Promise<void> {
  if (outcome.kind === 'sent') await markSent(work, id);
  else if (outcome.kind === 'refused') await markRefused(work, id, outcome);
  else if (outcome.kind === 'postponed') await postpone(work, id, outcome.at);
  else await markUnconfirmed(work, id);
}

/** Fails an e-mail whose address was not confirmed in time, unless it was confirmed concurrently. */
async function markUnconfirmed(work: EmailWork, id: string): Promise<void> {
  const row = await work.transaction
    .updateTable('emails')
    .set({ status: sql<Status>`case when unconfirmed then 'failed' else 'pending' end` })
    .where('id', '=', id)
    .where('status', '=', 'pending')
    .returning('status')
    .executeTakeFirst();
  if (row?.status === 'pending') await work.schedule(SEND, { key: id });
  else if (row?.status === 'failed') work.count(held, { reason: 'expired' });
}

/** Records that an e-mail was sent, and emits `email.sent`. */
async function markSent(work: EmailWork, id: string): Promise<void> {
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
 * Records that the mail server permanently refused an e-mail, and schedules it again much later, because the cause may be a full
 * mailbox or a wrong setting of the server. After the last delay, or at once if a repeat is pointless, the e-mail fails.
 */
async function markRefused(work: EmailWork, id: string, { reason, again }: Refusal): Promise<void> {
  const refusal = oneLine(reason).slice(0, 1_000);
  const row = await work.transaction
    .updateTable('emails')
    .set((expression) => ({ refusal, refusals: expression('refusals', '+', 1) }))
    .where('id', '=', id)
    .where('status', '=', 'pending')
    .returning('refusals')
    .executeTakeFirst();
  if (row === undefined) return;
  const delay = again ? REFUSAL_DELAYS_MS[row.refusals - 1] : undefined;
  if (delay === undefined) {
    await work.transaction.updateTable('emails').set({ status: 'failed' }).where('id', '=', id).execute();
    work.count(refusals, { outcome: 'given_up' });
    work.log.error({ code: 'email_given_up', refusal }, 'e-mail given up: the mail server refused it');
    return;
  }
  const at = new Date(work.now().getTime() + delay);
  await work.schedule(SEND, { key: id, at });
  work.count(refusals, { outcome: 'again' });
  work.log.warn(
    { code: 'email_refused', refusal, at },
    'e-mail refused by the mail server; will be offered again',
  );
}

/** Oldest first. */
export async function emailsOf(
  database: Kysely<EmailSchema>,
  userId: string,
  { limit, after }: Paging,
  now: Date,
): Promise<Page<Email>> {
  const own = database.selectFrom('emails').selectAll().where('user_id', '=', userId);
  await requireCursor(after, (id) => own.where('id', '=', id).executeTakeFirst());
  const rows = await own
    .$if(after !== undefined, (query) => query.where('id', '>', after as string))
    .orderBy('id')
    .limit(limit + 1)
    .execute();
  return toPage(rows, limit, (row) => toEmail(row, now));
}

function toEmail(row: EmailSchema['emails'], now: Date): Email {
  const reason = reasonOf(row, now);
  return {
    id: row.id,
    userId: row.user_id,
    ...(row.recipient !== null && { to: row.recipient }),
    template: row.template,
    subject: row.subject,
    status: row.status,
    ...(reason !== undefined && { reason }),
    ...(row.sent_at !== null && { sentAt: row.sent_at.toISOString() }),
  };
}

function reasonOf({ status, unconfirmed, slot_at }: EmailSchema['emails'], now: Date): Email['reason'] {
  if (status !== 'sent' && unconfirmed) return 'unconfirmed';
  if (status === 'pending' && slot_at !== null && slot_at > now) return 'postponed';
  return status === 'failed' ? 'refused' : undefined;
}
