// The tables of the service and its units of work, without its consumers and workers: a test moves every step itself. There is no
// broker either, so that what was emitted can be read in the outbox.
import { randomUUID } from 'node:crypto';
import { get, Joi, type Kysely, post, start, type WorkContext } from '@warren/chassis';
import { broker } from '../src/broker.ts';
import type { PaymentConfig } from '../src/config.ts';
import type { PaymentSchema } from '../src/payments.ts';
import { service } from '../src/service.ts';

type Step = (work: WorkContext<PaymentSchema, PaymentConfig>) => Promise<unknown>;

export interface Bench {
  database: Kysely<PaymentSchema>;
  /** Runs it in one transaction, as a handler would be. */
  work(step: Step): Promise<void>;
  stop(): Promise<unknown>;
}

export async function openBench(databaseUrl: string): Promise<Bench> {
  const steps = new Map<string, Step>();
  let database: Kysely<PaymentSchema> | undefined;
  const running = await start(
    {
      ...service,
      handlers: {},
      workers: [],
      methods: {},
      broker: { ...broker, vhosts: { publish: broker.vhosts.publish } },
      routes: [
        get('/database', { access: 'public' }, async (_, context) => {
          database = context.database as Kysely<PaymentSchema>;
          return {};
        }),
        post('/steps/:id', { access: 'public', body: Joi.object() }, async ({ params }, work) => {
          await steps.get(params.id)?.(work as Parameters<Step>[0]);
          return {};
        }),
      ],
    },
    {
      PORT: '0',
      ADMIN_PORT: '0',
      AMQP_URL: 'amqp://127.0.0.1:1',
      DATABASE_URL: databaseUrl,
      LOG_LEVEL: 'silent',
    },
  );
  await fetch(`${running.url}/database`);
  return {
    database: database as Kysely<PaymentSchema>,
    async work(step) {
      const id = randomUUID();
      steps.set(id, step);
      const response = await fetch(`${running.url}/steps/${id}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: '{}',
      });
      steps.delete(id);
      if (!response.ok) throw new Error(await response.text());
    },
    stop: () => running.stop(),
  };
}
