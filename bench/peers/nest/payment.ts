// NestJS microservices on RabbitMQ: the payment service. Practice: see order.ts.
import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { Controller, Inject, Module } from '@nestjs/common';
import {
  type ClientProxy,
  ClientsModule,
  Ctx,
  EventPattern,
  Payload,
  type RmqContext,
  Transport,
} from '@nestjs/microservices';
import pg from 'pg';
import { lastValueFrom } from 'rxjs';
import { acknowledge, connection, start } from './broker.ts';

const { DATABASE_URL } = process.env;

interface OrderCreated {
  orderId: string;
  userId: string;
  price: number;
  currency: string;
}

@Controller()
class PaymentController {
  @Inject('ORDER') private readonly order!: ClientProxy;
  @Inject(pg.Pool) private readonly pool!: pg.Pool;

  @EventPattern('order.created')
  async pay(@Payload() data: object, @Ctx() context: unknown): Promise<void> {
    const { orderId, userId, price: amount, currency } = data as OrderCreated;
    const paymentId = randomUUID();
    await this.pool.query(
      "insert into payments (id, order_id, user_id, amount, currency, status) values ($1, $2, $3, $4, $5, 'processed')",
      [paymentId, orderId, userId, Math.round(amount * 100), currency],
    );
    const payment = { paymentId, orderId, userId, amount, currency };
    await lastValueFrom(this.order.emit('payment.processed', payment), { defaultValue: undefined });
    acknowledge(context as RmqContext);
  }
}

@Module({
  imports: [
    ClientsModule.register([
      { name: 'ORDER', transport: Transport.RMQ, options: { ...connection, queue: 'order' } },
    ]),
  ],
  controllers: [PaymentController],
  providers: [{ provide: pg.Pool, useValue: new pg.Pool({ connectionString: DATABASE_URL }) }],
})
class PaymentModule {}

await start(PaymentModule, 'payment');
