// NestJS microservices on RabbitMQ: the payment service. Practice: see order.ts.
import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { Controller, Inject, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  type ClientProxy,
  ClientsModule,
  Ctx,
  EventPattern,
  type MicroserviceOptions,
  Payload,
  type RmqContext,
  Transport,
} from '@nestjs/microservices';
import pg from 'pg';
import { lastValueFrom } from 'rxjs';

const { PORT, AMQP_URL = '', DATABASE_URL } = process.env;
const PREFETCH = 200;

const connection = {
  urls: [AMQP_URL],
  queueOptions: { durable: true, arguments: { 'x-queue-type': 'quorum' } },
  socketOptions: { connectionOptions: { noDelay: true } },
  persistent: true,
};

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

function acknowledge(context: RmqContext): void {
  context.getChannelRef().ack(context.getMessage());
}

const app = await NestFactory.create(PaymentModule, { logger: ['error', 'warn'] });
app.connectMicroservice<MicroserviceOptions>({
  transport: Transport.RMQ,
  options: { ...connection, queue: 'payment', noAck: false, prefetchCount: PREFETCH },
});
app.enableShutdownHooks();
await app.startAllMicroservices();
await app.listen(Number(PORT), '127.0.0.1');
