// What the NestJS services of this peer share. Practice: see order.ts.
import type { Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { type MicroserviceOptions, type RmqContext, Transport } from '@nestjs/microservices';

const { PORT, AMQP_URL = '' } = process.env;
const PREFETCH = 200;

export const connection = {
  urls: [AMQP_URL],
  queueOptions: { durable: true, arguments: { 'x-queue-type': 'quorum' } },
  socketOptions: { connectionOptions: { noDelay: true } },
  persistent: true,
};

export function acknowledge(context: RmqContext): void {
  context.getChannelRef().ack(context.getMessage());
}

/** Consumes the queue, and serves HTTP. */
export async function start(module: Type, queue: string): Promise<void> {
  const app = await NestFactory.create(module, { logger: ['error', 'warn'] });
  app.connectMicroservice<MicroserviceOptions>({
    transport: Transport.RMQ,
    options: { ...connection, queue, noAck: false, prefetchCount: PREFETCH },
  });
  app.enableShutdownHooks();
  await app.startAllMicroservices();
  await app.listen(Number(PORT), '127.0.0.1');
}
