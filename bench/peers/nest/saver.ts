// NestJS microservices on RabbitMQ: a consumer that saves one row a message, without an inbox. Practice: see order.ts.
import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { Controller, Inject, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  Ctx,
  EventPattern,
  type MicroserviceOptions,
  Payload,
  type RmqContext,
  Transport,
} from '@nestjs/microservices';
import pg from 'pg';

const { PORT, AMQP_URL = '', DATABASE_URL } = process.env;
const PREFETCH = 200;

interface OrderCreated {
  orderId: string;
  userId: string;
  price: number;
  currency: string;
}

@Controller()
class SaverController {
  @Inject(pg.Pool) private readonly pool!: pg.Pool;

  @EventPattern('order.created')
  async save(@Payload() data: object, @Ctx() context: unknown): Promise<void> {
    const { orderId, userId, price, currency } = data as OrderCreated;
    await this.pool.query(
      "insert into payments (id, order_id, user_id, amount, currency, status) values ($1, $2, $3, $4, $5, 'processed')",
      [randomUUID(), orderId, userId, Math.round(price * 100), currency],
    );
    acknowledge(context as RmqContext);
  }
}

@Module({
  controllers: [SaverController],
  providers: [{ provide: pg.Pool, useValue: new pg.Pool({ connectionString: DATABASE_URL }) }],
})
class SaverModule {}

function acknowledge(context: RmqContext): void {
  context.getChannelRef().ack(context.getMessage());
}

const app = await NestFactory.create(SaverModule, { logger: ['error', 'warn'] });
app.connectMicroservice<MicroserviceOptions>({
  transport: Transport.RMQ,
  options: {
    urls: [AMQP_URL],
    queue: 'saver',
    queueOptions: { durable: true, arguments: { 'x-queue-type': 'quorum' } },
    socketOptions: { connectionOptions: { noDelay: true } },
    noAck: false,
    prefetchCount: PREFETCH,
  },
});
app.enableShutdownHooks();
await app.startAllMicroservices();
await app.listen(Number(PORT), '127.0.0.1');
