// How an e-mail leaves: over SMTP, or, where there is no mail server, to the log.
import type { Logger } from '@warren/chassis';
import type { SendMailOptions } from 'nodemailer';
import type { EmailConfig } from './config.ts';
import { AddressUnsupported, Connections } from './smtp.ts';
import type { Content } from './templates/template.ts';

export interface Message extends Content {
  /** Of the e-mail. Its Message-ID is made of it, so that a mailbox can tell a repeat. */
  id: string;
  to: { name: string; address: string };
  date: Date;
  template: string;
}

/** An e-mail that the mail server will not have. */
export interface Refusal {
  /** In the server's words, where it was asked. */
  reason: string;
  /** Whether it is offered again: a full mailbox may be emptied. */
  again: boolean;
}

/** E-mails at once, and so connections to the mail server. */
export const CONNECTIONS = 8;

/** ms a task waits for its e-mail: more than the hand-over below, so that only the server's last word can come later. */
export const TIMEOUT = 60_000;

const LIMITS = { connections: CONNECTIONS, handOver: 30_000, answer: 10 * 60_000, idle: 15_000 };

/** ms that an outcome is kept for a task whose time was over: longer than any task is put off. */
const KEEP = 15 * 60_000;

/** What a running service has open: it begins with its first e-mail. */
interface Delivery {
  connections: Connections;
  /** By the e-mail's id: attempts under way, and outcomes that no task has been told yet. */
  attempts: Map<string, Promise<Refusal | undefined>>;
}

const deliveries = new WeakMap<EmailConfig, Delivery>();

function deliveryOf(config: EmailConfig, url: string): Delivery {
  let delivery = deliveries.get(config);
  if (delivery === undefined) {
    delivery = { connections: new Connections(url, LIMITS), attempts: new Map() };
    deliveries.set(config, delivery);
  }
  return delivery;
}

/** Closes the connections to the mail server. */
export function closeDelivery(config: EmailConfig): void {
  deliveries.get(config)?.connections.close();
  deliveries.delete(config);
}

/**
 * Hands an e-mail over to the mail server; without SMTP_URL, to the log. While an attempt for it is under way in this process,
 * it is waited for and no other is begun.
 * @param signal ends the attempt, unless the mail server has the whole e-mail: its answer is then for the next to ask
 * @returns the refusal, when the mail server refused this e-mail for good or cannot take it
 * @throws when it cannot be handed over now: the server is away, busy, or does not let us in
 */
export async function deliver(
  message: Message,
  { config, log, signal }: { config: EmailConfig; log: Logger; signal: AbortSignal },
): Promise<Refusal | undefined> {
  const { id, to, template, subject, text } = message;
  const { SMTP_URL: url, MAIL_FROM: from } = config;
  if (url === undefined || from === undefined) {
    log.info(
      { email: id, template, to: to.address, subject, text },
      'SMTP_URL is not set: e-mail logged instead of sent',
    );
    return undefined;
  }
  const { connections, attempts } = deliveryOf(config, url);
  let attempt = attempts.get(id);
  if (attempt === undefined) {
    attempt = send(connections, mailOf(message, from), signal);
    attempts.set(id, attempt);
  }
  const forget = () => attempts.get(id) === attempt && attempts.delete(id);
  try {
    const outcome = await attempt;
    // Whose time is over has not heard it: the next will.
    if (signal.aborted) setTimeout(forget, KEEP).unref();
    else forget();
    return outcome;
  } catch (error) {
    forget();
    throw error;
  }
}

async function send(
  connections: Connections,
  mail: SendMailOptions,
  signal: AbortSignal,
): Promise<Refusal | undefined> {
  try {
    await connections.send(mail, signal);
    return undefined;
  } catch (error) {
    if (error instanceof AddressUnsupported) return { reason: error.message, again: false };
    if (isRefusal(error)) return { reason: error.message, again: true };
    throw error;
  }
}

function mailOf({ id, to, date, subject, text, html }: Message, from: string): SendMailOptions {
  return {
    messageId: `<${id}@${from.slice(from.lastIndexOf('@') + 1)}>`,
    date,
    from: { name: 'Warren', address: from },
    to: { name: headerText(to.name), address: to.address },
    subject: headerText(subject),
    text,
    html,
    // https://www.rfc-editor.org/rfc/rfc3834#section-5: no out-of-office answers, please.
    headers: { 'Auto-Submitted': 'auto-generated' },
  };
}

/** What is ASCII goes out as it is, and a mail reader would decode what looks like an encoded word (RFC 2047), line breaks and all. */
const headerText = (text: string) => text.replaceAll('=?', '= ?');

/**
 * Whether it is this e-mail that the server, or nodemailer for it, will not have: 5xx to its recipient or its content. One to
 * our name, our password or our sender's address would meet every e-mail alike: that is for the operator, and to be repeated.
 * https://www.rfc-editor.org/rfc/rfc5321#section-4.2.1
 */
function isRefusal(error: unknown): error is Error {
  const { code, command, responseCode } = error as { code?: string; command?: string; responseCode?: number };
  if (code === 'EENVELOPE' && command === 'API') return true;
  if (code === 'EMESSAGE' && responseCode === undefined) return true;
  return (command === 'RCPT TO' || command === 'DATA') && responseCode !== undefined && responseCode >= 500;
}
