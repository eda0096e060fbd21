// NestJS with @golevelup/nestjs-rabbitmq, on Express: the order service. No outbox, no inbox.
//
// Practice: the library's documentation (https://golevelup.github.io/nestjs/modules/rabbitmq.html): `RabbitMQModule.forRoot` with its
// exchanges and a prefetch, `@RabbitSubscribe` with a named durable queue, `connectionInitOptions: { wait: true }`, and
// `await amqpConnection.publish`, which resolves with the broker's confirm. The library acknowledges when a handler returns. Its
// release of today names NestJS 11 as its peer; here it runs on the same NestJS as the other peer.
import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { AmqpConnection, RabbitMQModule, RabbitSubscribe } from '@golevelup/nestjs-rabbitmq';
import { Body, Controller, HttpCode, Inject, Module, Post } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import pg from 'pg';

const { PORT, AMQP_URL = '', DATABASE_URL } = process.env;
const PREFETCH = 200;

@Controller()
class OrderController {
  @Inject(AmqpConnection) private readonly broker!: AmqpConnection;
  @Inject(pg.Pool) private readonly pool!: pg.Pool;

  @Post('orders')
  @HttpCode(201)
  async place(
    @Body() body: { userId: string; productName: string; price: number; currency?: string },
  ): Promise<object> {
    const { userId, productName, price, currency = 'EUR' } = body;
    const orderId = randomUUID();
    await this.pool.query(
      "insert into orders (id, user_id, product_name, price, currency, status) values ($1, $2, $3, $4, $5, 'pending')",
      [orderId, userId, productName, Math.round(price * 100), currency],
    );
    const order = { orderId, userId, productName, price, currency };
    await this.broker.publish('shop', 'order.created', order);
    return { ...order, status: 'pending' };
  }

  @RabbitSubscribe({
    exchange: 'shop',
    routingKey: 'payment.processed',
    queue: 'order.payment.processed',
    queueOptions: { durable: true, arguments: { 'x-queue-type': 'quorum' } },
  })
  async paid({ orderId }: { orderId: string }): Promise<void> {
    await this.pool.query("update orders set status = 'paid' where id = $1", [orderId]);
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
      enableControllerDiscovery: true,
    }),
  ],
  controllers: [OrderController],
  providers: [{ provide: pg.Pool, useValue: new pg.Pool({ connectionString: DATABASE_URL }) }],
})
class OrderModule {}

const app = await NestFactory.create(OrderModule, { logger: ['error', 'warn'] });
app.enableShutdownHooks();
await app.listen(Number(PORT), '127.0.0.1');
