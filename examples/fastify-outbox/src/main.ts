import { randomUUID } from 'node:crypto';
import { migrate } from '@warren/chassis/migrations';
import Fastify from 'fastify';
import { createTables, openDatabase, things } from './database.ts';
import { thingSaved } from './events.ts';
import { joinWarren } from './warren.ts';

const { DATABASE_URL: databaseUrl = '', AMQP_URL: brokerUrl = '', PORT = '3020' } = process.env;

const app = Fastify({ logger: true });
const { db, pool } = openDatabase(databaseUrl);
await createTables(db);
await migrate(databaseUrl, { log: app.log });
const warren = joinWarren(db, { databaseUrl, brokerUrl }, app.log);

const body = { type: 'object', required: ['name'], properties: { name: { type: 'string', minLength: 1 } } };

app.post<{ Body: { name: string } }>('/things', { schema: { body } }, async ({ body }, reply) => {
  const thing = { id: randomUUID(), name: body.name };
  await warren.outbox.transaction(async (tx) => {
    await tx.insert(things).values(thing);
    await warren.outbox.emit(
      tx,
      thingSaved,
      { thingId: thing.id, name: thing.name },
      { aggregate: thing.id },
    );
  });
  return reply.code(201).send(thing);
});
app.get('/things', () => db.select().from(things));
app.get('/readyz', async (_, reply) =>
  reply.code(warren.problem ? 503 : 200).send({ problem: warren.problem }),
);

app.addHook('onClose', async () => {
  await warren.stop();
  await pool.end();
});
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => void app.close());

warren.start();
await app.listen({ port: Number(PORT), host: '0.0.0.0' });
