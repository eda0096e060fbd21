// Faults in the rules of the services: what an order, a payment, a session, a user and an e-mail may become, and what is published.
import type { Mutant } from './mutant.ts';

const order = { suite: 'services/order' };
const orders = { ...order, file: 'services/order/src/orders.ts' };
const table = { ...order, file: 'services/order/src/saga.ts', tests: ['test/saga.test.ts'] };
const payments = {
  suite: 'services/payment',
  file: 'services/payment/src/payments.ts',
  tests: ['test/payments.test.ts'],
};
const cancelling = { ...payments, tests: ['test/cancelling.test.ts'] };
const charging = { ...payments, tests: ['test/charging.test.ts'] };
const sessions = { suite: 'services/session', file: 'services/session/src/sessions.ts' };
const opening = { ...sessions, tests: ['test/opening.test.ts'] };
const expiry = { ...sessions, tests: ['test/expiry.test.ts'] };
const users = {
  suite: 'services/user',
  file: 'services/user/src/users.ts',
  tests: ['test/sign-up.test.ts'],
};
const emails = {
  suite: 'services/email',
  file: 'services/email/src/emails.ts',
  tests: ['test/sending.test.ts'],
};

export const saga: Mutant[] = [
  // --- order ---
  {
    ...table,
    name: 'a failed payment leaves its order pending',
    find: "'payment.failed': { to: 'cancelled', emits: 'order.cancelled' },",
    replace: "'payment.failed': { to: 'pending' },",
  },
  {
    ...table,
    name: 'an order is paid without order.confirmed',
    find: "{ to: 'paid', emits: 'order.confirmed' }",
    replace: "{ to: 'paid' }",
  },
  {
    ...table,
    name: 'a timeout cancels a paid order',
    find: "timeout: { to: 'paid' },",
    replace: "timeout: { to: 'cancelled', emits: 'order.cancelled' },",
  },
  {
    ...table,
    name: 'a payment that comes too late makes a cancelled order paid',
    find: "'payment.processed': { to: 'cancelled' },",
    replace: "'payment.processed': { to: 'paid', emits: 'order.confirmed' },",
  },
  {
    ...orders,
    name: 'an order is placed without order.created',
    find: 'await work.emit(orderCreated, factsOf(row), { aggregate: row.id });',
    replace: '',
    tests: ['test/orders.test.ts'],
    title: 'publishes order.created',
  },
  {
    ...orders,
    name: 'order.confirmed is not published',
    find: "if (transition.emits === 'order.confirmed') await work.emit(orderConfirmed, factsOf(row), aggregate);",
    replace: '',
    tests: ['test/payments.test.ts'],
    title: 'that was processed makes the order paid',
  },
  {
    ...orders,
    name: 'order.cancelled is not published',
    find: 'await work.emit(orderCancelled, { ...factsOf(row), reason }, aggregate);',
    replace: '{}',
    tests: ['test/payments.test.ts'],
    title: 'that failed cancels the order',
  },
  {
    ...orders,
    name: 'a refused transition is not counted',
    find: 'work.count(refusals, { status, event });',
    replace: '',
    tests: ['test/payments.test.ts'],
    title: 'that the saga refuses is counted by status and event',
  },
  {
    ...orders,
    name: 'an order is not locked before its transition',
    find: ".where('id', '=', id).forUpdate().executeTakeFirst();",
    replace: ".where('id', '=', id).executeTakeFirst();",
    tests: ['test/payments.test.ts'],
    title: 'duplicated and concurrent',
  },
  {
    ...orders,
    name: 'an order that nobody pays is never cancelled',
    find: 'await work.schedule(EXPIRE, { key: row.id, at });',
    replace: 'void at;',
    tests: ['test/timeout.test.ts'],
    title: 'is cancelled PAYMENT_TIMEOUT after it was placed',
  },
  {
    ...orders,
    name: 'the timeout of a paid order stays scheduled',
    find: 'work.discard(EXPIRE, row.id);',
    replace: '',
    tests: ['test/payments.test.ts'],
    title: 'that was processed makes the order paid',
  },
  {
    ...orders,
    name: 'an outage of the broker counts as time to pay',
    find: 'if (now - connectedSince >= PAYMENT_TIMEOUT)',
    replace: 'if (now >= connectedSince)',
    tests: ['test/timeout.test.ts'],
    title: 'is not cancelled until PAYMENT_TIMEOUT after the broker has recovered',
  },
  {
    ...orders,
    name: 'another price under an orderId in use is answered as the same order',
    find: '  row.price === wanted.price &&\n',
    replace: '',
    tests: ['test/orders.test.ts'],
    title: 'returns 409 for different content',
  },
  {
    ...order,
    file: 'services/order/migrations/001_orders.sql',
    name: 'a user may have several welcome orders',
    find: 'create unique index orders_one_welcome',
    replace: 'create index orders_one_welcome',
    tests: ['test/welcome.test.ts'],
    title: 'for several concurrent events about the same sign-up',
  },

  {
    ...order,
    file: 'services/order/src/handlers.ts',
    name: 'payments of one order in one batch are handled at once',
    find: "'order.payment.processed': {\n    key,",
    replace: "'order.payment.processed': {",
    tests: ['test/keys.test.ts'],
    title: 'confirm their order once',
  },

  // --- payment ---
  {
    ...payments,
    name: 'an order is not charged',
    find: 'await work.schedule(CHARGE, { key: id, data: charge });',
    replace: 'void charge;',
    title: 'is pending until it is charged',
  },
  {
    ...charging,
    file: 'services/payment/src/workers.ts',
    name: 'a charge that is repeated has another key, and is taken twice',
    find: 'perform: ({ data }, context) => providerOf(context).charge(data, context.signal),',
    replace:
      'perform: ({ data, attempts }, context) => providerOf(context).charge({ ...data, key: `${data.key}:${attempts}` }, context.signal),',
    title: 'retries with the same key',
  },
  {
    ...charging,
    file: 'services/payment/src/simulator.ts',
    name: 'a charge above the limit is taken',
    find: "case when amount > ${limit} then 'declined' else 'accepted' end,",
    replace: "case when amount > ${limit * 1_000} then 'declined' else 'accepted' end,",
    title: 'declines a charge above the limit',
  },
  {
    ...charging,
    name: 'payment.processed is not published',
    find: 'await work.emit(paymentProcessed, factsOf(row), { aggregate: row.id });',
    replace: '',
    title: 'charges an order, and publishes payment.processed once',
  },
  {
    ...charging,
    name: 'payment.failed is not published',
    find: 'await work.emit(paymentFailed, { ...factsOf(row), reason }, { aggregate: row.id });',
    replace: '',
    title: 'declines a charge above the limit',
  },
  {
    ...payments,
    name: 'a provider’s long reason is not shortened to what an event can carry',
    find: '    .slice(0, 200)\n',
    replace: '',
    title: 'truncates a long reason of the provider',
  },
  {
    ...payments,
    name: 'the charge of a cancelled order is not refunded',
    find: 'await change(work, id, { cancel_reason: reason });\n    await scheduleRefund(work, id);',
    replace: 'await change(work, id, { cancel_reason: reason });',
    title: 'for any number of deliveries',
  },
  {
    ...payments,
    name: 'a charge in flight while its order is cancelled is not refunded',
    find: 'if (row.cancel_reason !== null) await scheduleRefund(work, id);',
    replace: '',
    title: 'stays pending during its charge, and is refunded after it',
  },
  {
    ...payments,
    name: 'a payment whose charge has begun is void',
    find: "...(isVoid && { status: 'void' })",
    replace: "...(isVoid || { status: 'void' as const }), status: 'void'",
    title: 'after an attempt with an unknown outcome',
  },
  {
    ...cancelling,
    name: 'an order that was cancelled before it was created is charged',
    find: "if ((await insert(work, order, { status: 'void', cancel_reason: reason })) !== undefined) return;",
    replace: '',
    title: 'are void and never charged when the cancellation comes first',
  },
  {
    ...cancelling,
    name: 'payment.refunded is not published',
    find: 'await work.emit(paymentRefunded, { ...factsOf(row), reason: row.cancel_reason }, { aggregate: row.id });',
    replace: '',
    title: 'are refunded once when they were charged',
  },
  {
    ...cancelling,
    name: 'a refund uses the key of its charge',
    find: 'const refundKey = (id: string): string => `refund:${id}`;',
    replace: 'const refundKey = (id: string): string => `charge:${id}`;',
    title: 'are refunded once when they were charged',
  },
  {
    ...payments,
    name: 'a payment is not locked before its transition',
    find: '    .forUpdate()\n',
    replace: '',
    title: 'is not committed yet as',
  },

  // --- session ---
  {
    ...opening,
    name: 'a session is opened without session.opened',
    find: 'await work.emit(\n    sessionOpened,',
    replace: 'Object.is(\n    sessionOpened,',
    title: 'publishes session.opened once',
  },
  {
    ...expiry,
    name: 'a revoked session expires',
    find: "    .where('status', '=', 'active')\n",
    replace: '',
    title: 'leaves a revoked session revoked',
  },
  {
    ...expiry,
    name: 'an expired session is revoked',
    find: "if (statusAt(row, work.now()) === 'active')",
    replace: 'if (row.id === id)',
    title: 'is not changed by revoking an expired session',
  },
  {
    ...expiry,
    name: 'a session past its time is active until a worker marks it',
    find: "row.status === 'active' && row.expires_at <= now ? 'expired' : row.status;",
    replace:
      "row.status === 'active' && row.expires_at <= new Date(now.getTime() - 10_000) ? 'expired' : row.status;",
    title: 'is visible at once, before the worker has stored it',
  },

  // --- user ---
  {
    ...users,
    name: 'a user signs up without user.created',
    find: 'await work.emit(userCreated, { userId: row.id, name, email }, { aggregate: row.id });',
    replace: '',
    title: 'publishes user.created once',
  },
  {
    ...users,
    name: 'a sign-up under an address that is taken is an error of the service',
    find: ".onConflict((conflict) => conflict.column('email_key').doNothing())",
    replace: '',
    title: 'refuses an address that is taken',
  },

  // --- email ---
  {
    ...emails,
    file: 'services/email/src/delivery.ts',
    name: 'an e-mail that is sent again has another Message-ID',
    find: 'messageId: `<${id}@',
    replace: 'messageId: `<${id}.${performance.now()}@',
    title: 'with the id in its Message-ID',
  },
  {
    ...emails,
    name: 'an e-mail that waited for its user is not sent',
    find: 'else if (waited.length > 0) await release(work, userId);',
    replace: '',
    title: 'delays an e-mail until its user is known',
  },
  {
    ...emails,
    name: 'email.sent is not published',
    find: 'await work.emit(emailSent, { emailId: id, userId: row.user_id, template: row.template }, { aggregate: id });',
    replace: '',
    title: 'publishes email.sent once',
  },
  {
    ...emails,
    file: 'services/email/src/emails.ts',
    name: 'one thing may have two e-mails of a template',
    find: 'const { userId, template, reference, facts } = email;',
    replace: 'const { userId, template, facts } = email;\n  const reference = newId();',
    title: 'writes one e-mail per template and subject',
  },
  {
    ...emails,
    file: 'services/email/src/handlers.ts',
    name: 'an e-mail about a confirmed order locks outside its key',
    find: "'email.order.confirmed': { key, ",
    replace: "'email.order.confirmed': { ",
    tests: ['test/keys.test.ts'],
    title: 'order.confirmed and order.created of one user',
  },
  {
    ...emails,
    file: 'services/email/src/handlers.ts',
    name: 'nobody is told that an order was cancelled',
    find: '({ data }, work) => announceCancelledOrder(work, data)',
    replace: 'async () => void announceCancelledOrder',
    title: 'reports that the order was cancelled',
  },
  {
    ...emails,
    name: 'everybody who signs up counts as confirmed',
    find: 'confirmed_at: confirms ? null : work.now()',
    replace: 'confirmed_at: work.now()',
    tests: ['test/confirmation.test.ts'],
    title: 'gets one e-mail without any text of a user',
  },
  {
    ...emails,
    file: 'services/email/src/links.ts',
    name: 'a link is accepted whoever signed it',
    find: 'timingSafeEqual(sign(key, claim, user.email), signature)',
    replace: 'timingSafeEqual(sign(key, claim, user.email), sign(key, claim, user.email))',
    tests: ['test/links.test.ts'],
    title: 'is invalid with any bit changed',
  },
  {
    ...emails,
    file: 'services/email/src/confirmation.ts',
    name: 'a confirmation is sent again as often as anybody likes',
    find: 'if (earlier.length >= MAX_PER_DAY || lately.length >= MAX_PER_HOUR) return;',
    replace: '',
    tests: ['test/confirmation.test.ts'],
    title: 'gets a limited number of confirmations',
  },
  {
    ...emails,
    name: 'what was due during an outage leaves at once after it',
    find: "emails.slot_at is null or emails.slot_at < now() - interval '1 hour'",
    replace: 'emails.slot_at is null',
    tests: ['test/bound.test.ts'],
    title: 'do not exceed the limit after an outage of the mail server',
  },
  {
    ...emails,
    file: 'services/email/migrations/003_confirmation.sql',
    name: 'replicas count the e-mails to an address without taking turns',
    find: 'where address = recipient for update;',
    replace: 'where address = recipient;',
    tests: ['test/bound.test.ts'],
    title: 'get their slots from one transaction after the other',
  },
  {
    ...emails,
    name: 'what a user wrote can become a link',
    find: 'unlinked(String(fact))',
    replace: 'fact',
    tests: ['test/injection.test.ts'],
    title: 'never becomes a link or a subject',
  },
];
