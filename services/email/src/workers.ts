import type { Worker } from '@warren/chassis';
import type { EmailConfig } from './config.ts';
import { CONNECTIONS, closeDelivery, deliver, TIMEOUT } from './delivery.ts';
import { type Outcome, prepare, SEND, settle } from './emails.ts';
import type { EmailSchema } from './schema.ts';

const sending: Worker<object, Outcome, EmailSchema, EmailConfig> = {
  kind: SEND,
  concurrency: CONNECTIONS,
  timeout: TIMEOUT,
  async perform({ key }, { database, config, log, signal }) {
    const prepared = await prepare(database, config, key);
    if (prepared.kind !== 'ready') return prepared;
    const refusal = await deliver(prepared.message, { config, log, signal });
    return refusal === undefined ? { kind: 'sent' } : { kind: 'refused', ...refusal };
  },
  complete: ({ key }, outcome, work) => settle(work, key, outcome),
  close: closeDelivery,
};

export const workers = [sending];
