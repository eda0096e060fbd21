import {
  CURSOR_UNKNOWN,
  created,
  get,
  Joi,
  newId,
  own,
  type Paging,
  pageOf,
  paging,
  post,
  problem,
  RETRY_SHORTLY,
  type Route,
  respond,
} from '@warren/chassis';
import { currency, money, type Order, type OrderCreated, toMinorUnits } from '@warren/contracts';
import { uuid } from '@warren/events';
import type { OrderConfig } from './config.ts';
import { findOrder, type OrderSchema, ordersOf, placeOrder } from './orders.ts';
import { productName } from './product.ts';

const id = uuid().lowercase();

const newOrder = Joi.object<Omit<OrderCreated, 'orderId'> & { orderId?: string }>({
  userId: id.required(),
  productName: productName.required(),
  price: money().required(),
  currency: currency().default('EUR'),
  orderId: id.description(
    'Chosen by the client. Repeating the same order under the same id places it only once.',
  ),
});

const order = Joi.object<Order>({
  orderId: id.required(),
  userId: id.required(),
  productName: Joi.string().required(),
  price: money().required(),
  currency: currency().required(),
  status: Joi.valid('pending', 'paid', 'cancelled').required(),
  createdAt: Joi.string().isoDate().required(),
});

export const routes: Route<OrderSchema, OrderConfig>[] = [
  post(
    '/orders',
    {
      access: own(({ body }) => body.userId),
      summary: 'Place an order',
      description:
        'If the same order was placed before under this `orderId`, the response is that order, with status 200.',
      body: newOrder,
      shared: ({ body }) => body.orderId ?? newId(),
      responses: { 200: order, 201: order, 404: Joi.valid('user_unknown'), 409: Joi.valid('order_id_taken') },
    },
    async ({ body }, work) => {
      const placed = await placeOrder(work, { ...body, price: toMinorUnits(body.price) });
      switch (placed.outcome) {
        case 'placed':
          return created(`/orders/${placed.order.orderId}`, placed.order);
        case 'repeated':
          return respond(200, placed.order, { location: `/orders/${placed.order.orderId}` });
        case 'taken':
          throw problem(409, {
            code: 'order_id_taken',
            title: 'Order id taken',
            detail: `A different order with the id ${body.orderId} exists; use a new orderId for a new order.`,
          });
        case 'user_unknown':
          throw problem(404, {
            code: 'user_unknown',
            title: 'User not found',
            detail: `User ${body.userId} does not exist. If the user has just signed up, retry shortly.`,
            headers: RETRY_SHORTLY,
          });
      }
    },
  ),

  get(
    '/orders',
    {
      access: own(({ query }) => query.userId),
      summary: 'List the orders of a user, oldest first, with pagination',
      query: Joi.object<Paging & { userId: string }>({ userId: id.required(), ...paging }),
      responses: { 200: pageOf(order), 400: Joi.valid(CURSOR_UNKNOWN) },
    },
    async ({ query }, { database }) => ordersOf(database, query.userId, query),
  ),

  get(
    '/orders/:id',
    {
      access: 'own',
      summary: 'Get an order',
      params: { id: id.required() },
      responses: { 200: order, 404: Joi.valid('order_unknown') },
    },
    async ({ params }, { database, authorise }) => {
      const found = await findOrder(database, params.id);
      if (found === undefined)
        throw problem(404, {
          code: 'order_unknown',
          title: 'Order not found',
          detail: `Order ${params.id} does not exist.`,
        });
      authorise(found.userId);
      return found;
    },
  ),
];
