// NestJS microservices on RabbitMQ, with Express: the order service. No outbox, no inbox.
//
// Practice: NestJS's documentation, "RabbitMQ" (https://docs.nestjs.com/microservices/rabbitmq: a durable queue a service,
// `noAck: false` and `channel.ack`, a client by `ClientsModule`, `persistent`) and "Hybrid application"
// (https://docs.nestjs.com/faq/hybrid-application). `emit` is awaited, so the broker's confirm comes before the answer. There is no
// ORM and no ValidationPipe, which the documentation recommends: both would only cost more.
import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { Body, Controller, HttpCode, Inject, Module, Post } from '@nestjs/common';
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

@Controller()
class OrderController {
  @Inject('PAYMENT') private readonly payment!: ClientProxy;
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
    await lastValueFrom(this.payment.emit('order.created', order), { defaultValue: undefined });
    return { ...order, status: 'pending' };
  }

  @EventPattern('payment.processed')
  async paid(@Payload() data: { orderId: string }, @Ctx() context: unknown): Promise<void> {
    await this.pool.query("update orders set status = 'paid' where id = $1", [data.orderId]);
    acknowledge(context as RmqContext);
  }
}

@Module({
  imports: [
    ClientsModule.register([
      { name: 'PAYMENT', transport: Transport.RMQ, options: { ...connection, queue: 'payment' } },
    ]),
  ],
  controllers: [OrderController],
  providers: [{ provide: pg.Pool, useValue: new pg.Pool({ connectionString: DATABASE_URL }) }],
})
class OrderModule {}

await start(OrderModule, 'order');
