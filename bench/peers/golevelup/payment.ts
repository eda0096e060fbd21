// NestJS with @golevelup/nestjs-rabbitmq: the payment service. Practice: see order.ts.
import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { AmqpConnection, RabbitMQModule, RabbitSubscribe } from '@golevelup/nestjs-rabbitmq';
import { Inject, Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import pg from 'pg';

const { PORT, AMQP_URL = '', DATABASE_URL } = process.env;
const PREFETCH = 200;

interface OrderCreated {
  orderId: string;
  userId: string;
  price: number;
  currency: string;
}

@Injectable()
class PaymentService {
  @Inject(AmqpConnection) private readonly broker!: AmqpConnection;
  @Inject(pg.Pool) private readonly pool!: pg.Pool;

  @RabbitSubscribe({
    exchange: 'shop',
    routingKey: 'order.created',
    queue: 'payment.order.created',
    queueOptions: { durable: true, arguments: { 'x-queue-type': 'quorum' } },
  })
  async pay(data: object): Promise<void> {
    const { orderId, userId, price: amount, currency } = data as OrderCreated;
    const paymentId = randomUUID();
    await this.pool.query(
      "insert into payments (id, order_id, user_id, amount, currency, status) values ($1, $2, $3, $4, $5, 'processed')",
      [paymentId, orderId, userId, Math.round(amount * 100), currency],
    );
    await this.broker.publish('shop', 'payment.processed', {
      paymentId,
      orderId,
      userId,
      amount,
      currency,
    });
  }
}

@Module({
  imports: [
    RabbitMQModule.forRoot({
      uri: AMQP_URL,
      exchanges: [{ name: 'shop', type: 'topic', options: { durable: true } }],
      prefetchCount: PREFETCH,
      connectionInitOptions: { wait: true },
      connectionManagerOptions: { connectionOptions: { noDelay: true } },
      defaultPublishOptions: { persistent: true },
    }),
  ],
  providers: [
    PaymentService,
    { provide: pg.Pool, useValue: new pg.Pool({ connectionString: DATABASE_URL }) },
  ],
})
class PaymentModule {}

const app = await NestFactory.create(PaymentModule, { logger: ['error', 'warn'] });
app.enableShutdownHooks();
await app.listen(Number(PORT), '127.0.0.1');
