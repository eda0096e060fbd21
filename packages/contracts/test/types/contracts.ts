// What compiles, and what does not, for users of the package. `make check` compiles this file; it is not run.
import {
  type Currency,
  type findUser,
  fromMinorUnits,
  type orderCancelled,
  type orderConfirmed,
  type PaymentProcessed,
  type paymentProcessed,
  toMinorUnits,
  type userCreated,
} from '@warren/contracts';
import type { DataOf, MethodDefinition } from '@warren/events';

type ReplyOf<Method> = Method extends MethodDefinition<infer _, infer Reply> ? Reply : never;

const user = { userId: '1', name: 'Ada', email: 'ada@example.com' } satisfies DataOf<typeof userCreated>;
// @ts-expect-error a user has an address
({ userId: '1', name: 'Ada' }) satisfies DataOf<typeof userCreated>;

const order = { orderId: '1', userId: user.userId, productName: 'Tea', price: 4.5, currency: 'EUR' } as const;
order satisfies DataOf<typeof orderConfirmed>;
// @ts-expect-error a cancellation has a reason
order satisfies DataOf<typeof orderCancelled>;
({ ...order, reason: 'limit_exceeded' }) satisfies DataOf<typeof orderCancelled>;

const payment: PaymentProcessed = {
  paymentId: '1',
  orderId: order.orderId,
  userId: user.userId,
  amount: 4.5,
  currency: 'EUR',
};
payment satisfies DataOf<typeof paymentProcessed>;
// @ts-expect-error not one of the currencies
'CHF' satisfies Currency;

// @ts-expect-error the reply has no password
({}) as ReplyOf<typeof findUser> satisfies { password: string };
fromMinorUnits(toMinorUnits(4.5)) satisfies number;
// @ts-expect-error an amount is a number
toMinorUnits('4.50');
