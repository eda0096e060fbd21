import { CURSOR_UNKNOWN, get, Joi, type Paging, pageOf, paging, problem, type Route } from '@warren/chassis';
import { currency, money, type Payment } from '@warren/contracts';
import { uuid } from '@warren/events';
import type { PaymentConfig } from './config.ts';
import { findPayment, type PaymentSchema, paymentsOf } from './payments.ts';

const id = uuid().lowercase();

const payment = Joi.object<Payment>({
  id: id.required(),
  orderId: id.required(),
  userId: id.required(),
  amount: money().required(),
  currency: currency().required(),
  status: Joi.valid('pending', 'processed', 'failed', 'refunded', 'void').required(),
  reason: Joi.string(),
  createdAt: Joi.string().isoDate().required(),
});

export const routes: Route<PaymentSchema, PaymentConfig>[] = [
  get(
    '/payments',
    {
      access: 'own',
      summary: 'List the payments for an order or for all orders of a user, oldest first, with pagination',
      query: Joi.object<Paging & { orderId?: string; userId?: string }>({
        orderId: id,
        userId: id,
        ...paging,
      }).or('orderId', 'userId'),
      responses: { 200: pageOf(payment), 400: Joi.valid(CURSOR_UNKNOWN) },
    },
    async ({ query }, { database, authorise }) => {
      // Without a userId, the owner is known only from the payments.
      if (query.userId !== undefined) authorise(query.userId);
      const page = await paymentsOf(database, query);
      authorise(page.items.map(({ userId }) => userId));
      return page;
    },
  ),

  get(
    '/payments/:id',
    {
      access: 'own',
      summary: 'Get a payment',
      params: { id: id.required() },
      responses: { 200: payment, 404: Joi.valid('payment_unknown') },
    },
    async ({ params }, { database, authorise }) => {
      const found = await findPayment(database, params.id);
      if (found === undefined)
        throw problem(404, {
          code: 'payment_unknown',
          title: 'Payment not found',
          detail: `Payment ${params.id} does not exist.`,
        });
      authorise(found.userId);
      return found;
    },
  ),
];
