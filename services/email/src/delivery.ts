// Delivers e-mails: over SMTP, or to the log when no mail server is configured.
import type { Logger } from '@warren/chassis';
import type { SendMailOptions } from 'nodemailer';
import type { EmailConfig } from './config.ts';
import { AddressUnsupported, Connections } from './smtp.ts';
import type { Content } from './templates/template.ts';

export interface Message extends Content {
  /** Id of the e-mail. Its Message-ID contains it, so that mailboxes recognize a repeat. */
  id: string;
  to: { name: string; address: string };
  date: Date;
  template: string;
}

/** The mail server permanently refused an e-mail. */
export interface Refusal {
  /** The server's response, or why the server was not contacted. */
  reason: string;
  /** Whether to offer it again later: e.g. a full mailbox may be emptied. */
  again: boolean;
}

/** Concurrent e-mails, and so connections to the mail server. */
export const CONNECTIONS = 8;

/** Time limit of a task, ms. Longer than `handOver`, so that only the server's final response can come later. */
export const TIMEOUT = 60_000;

const LIMITS = { connections: CONNECTIONS, handOver: 30_000, answer: 10 * 60_000, idle: 15_000 };

/** How long an outcome is kept for a task that timed out: longer than the longest backoff. */
const OUTCOME_TTL_MS = 15 * 60_000;

/** State of a running service, created with its first e-mail. */
interface Delivery {
  connections: Connections;
  /** By the e-mail's id: attempts in flight, and outcomes that no task has recorded yet. */
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
 * Sends an e-mail to the mail server or, without SMTP_URL, to the log. If an attempt for it is in flight in this process, waits for
 * that one.
 * @param signal aborts the attempt, unless the mail server already has the whole e-mail: then the next call gets the response
 * @returns the refusal, when the mail server permanently refused this e-mail
 * @throws when it cannot be sent now: the server is unavailable or busy, or refuses the login
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
    // A task that timed out cannot record the outcome; the next one gets it.
    if (signal.aborted) setTimeout(forget, OUTCOME_TTL_MS).unref();
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
    // https://www.rfc-editor.org/rfc/rfc3834#section-5: suppresses out-of-office replies.
    headers: { 'Auto-Submitted': 'auto-generated' },
  };
}

/** ASCII text is not encoded, so a mail reader would decode anything that looks like an encoded word (RFC 2047), even line breaks. */
const headerText = (text: string) => text.replaceAll('=?', '= ?');

/**
 * Whether the server, or nodemailer, refused this e-mail: 5xx to its recipient or its content. A 5xx to our name, password or
 * sender address affects every e-mail: the operator must fix it, and the e-mail is retried.
 * https://www.rfc-editor.org/rfc/rfc5321#section-4.2.1
 */
function isRefusal(error: unknown): error is Error {
  const { code, command, responseCode } = error as { code?: string; command?: string; responseCode?: number };
  if (code === 'EENVELOPE' && command === 'API') return true;
  if (code === 'EMESSAGE' && responseCode === undefined) return true;
  return (command === 'RCPT TO' || command === 'DATA') && responseCode !== undefined && responseCode >= 500;
}
