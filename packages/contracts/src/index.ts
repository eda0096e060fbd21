export * from './email.ts';
export * from './lists.ts';
export * from './money.ts';
export * from './order.ts';
export * from './payment.ts';
export * from './session.ts';
export * from './user.ts';
