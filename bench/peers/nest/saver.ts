// NestJS microservices on RabbitMQ: a consumer that saves one row a message, without an inbox. Practice: see order.ts.
import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { Controller, Inject, Module } from '@nestjs/common';
import { Ctx, EventPattern, Payload, type RmqContext } from '@nestjs/microservices';
import pg from 'pg';
import { acknowledge, start } from './broker.ts';

const { DATABASE_URL } = process.env;

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

await start(SaverModule, 'saver');
