import type { Worker } from '@warren/chassis';
import type { EmailConfig } from './config.ts';
import { CONNECTIONS, closeDelivery, deliver, type Refusal, TIMEOUT } from './delivery.ts';
import { type EmailSchema, markRefused, markSent, messageOf, SEND } from './emails.ts';

/** Comes with the refusal where the mail server will not have the e-mail. */
const sending: Worker<object, Refusal | undefined, EmailSchema, EmailConfig> = {
  kind: SEND,
  concurrency: CONNECTIONS,
  timeout: TIMEOUT,
  async act({ key }, { database, config, log, signal }) {
    const message = await messageOf(database, key);
    if (message === undefined) return { reason: 'there is nobody to send it to any more', again: true };
    return deliver(message, { config, log, signal });
  },
  settle: ({ key }, refusal, work) =>
    refusal === undefined ? markSent(work, key) : markRefused(work, key, refusal),
  close: closeDelivery,
};

export const workers = [sending];
