// How an e-mail leaves: over SMTP, or, where there is no mail server, to the log.
import { connect } from 'node:net';
import { Transform } from 'node:stream';
import type { Logger } from '@warren/chassis';
import { createTransport, type SMTPPoolOptions, type Transporter } from 'nodemailer';
import type { EmailConfig } from './config.ts';
import type { Content } from './templates/template.ts';

export interface Message extends Content {
  /** Of the e-mail. Its Message-ID is made of it, so that a mailbox can tell a repeat. */
  id: string;
  to: { name: string; address: string };
  date: Date;
  template: string;
}

/** E-mails at once, and so connections to the mail server. */
export const CONNECTIONS = 8;

/** ms the whole sending of an e-mail may take. */
export const TIMEOUT = 20_000;

/** ms; each of them ends an attempt before TIMEOUT does. */
const TIMEOUTS = {
  connectionTimeout: 5_000,
  greetingTimeout: 5_000,
  socketTimeout: 15_000,
};

/**
 * Connects as nodemailer would, but without Nagle's algorithm: it writes a message in many small parts, and each e-mail would
 * wait 40 ms for the server's delayed acknowledgement. TLS, where there is any, is nodemailer's, over this connection.
 */
const getSocket: SMTPPoolOptions['getSocket'] = ({ host, port, secure }, done) => {
  const socket = connect({
    host: host || 'localhost',
    port: Number(port) || (secure ? 465 : 587),
    noDelay: true,
  });
  const fail = (error: Error) => done(error);
  socket.once('error', fail);
  socket.setTimeout(TIMEOUTS.connectionTimeout, () =>
    socket.destroy(new Error(`no connection to the mail server within ${TIMEOUTS.connectionTimeout} ms`)),
  );
  socket.once('connect', () => {
    socket.removeListener('error', fail);
    socket.setTimeout(0);
    socket.removeAllListeners('timeout');
    done(null, { connection: socket });
  });
};

/** Gathers a message, so that it leaves in one write and not in ten. */
function gather(): Transform {
  const parts: Buffer[] = [];
  return new Transform({
    transform(part: Buffer, _encoding, done) {
      parts.push(part);
      done();
    },
    flush: (done) => done(null, Buffer.concat(parts)),
  });
}

// One pool for each running service; it is opened by its first e-mail.
const transports = new WeakMap<EmailConfig, Transporter>();

function transportOf(config: EmailConfig, url: string): Transporter {
  const open = transports.get(config);
  if (open !== undefined) return open;
  const transport = createTransport({
    url,
    pool: true,
    maxConnections: CONNECTIONS,
    maxMessages: Number.POSITIVE_INFINITY,
    // The worker repeats, and it alone.
    maxRequeues: 0,
    ...TIMEOUTS,
    getSocket,
    disableFileAccess: true,
    disableUrlAccess: true,
  });
  transport.use('stream', ({ message }, done) => {
    message.transform(gather);
    done();
  });
  transports.set(config, transport);
  return transport;
}

/** Closes the connections to the mail server. */
export function closeDelivery(config: EmailConfig): void {
  transports.get(config)?.close();
  transports.delete(config);
}

/**
 * Hands an e-mail over to the mail server; without SMTP_URL, to the log.
 * @returns what the mail server said when it refused this e-mail for good, else nothing
 * @throws when it cannot be handed over now: the server is away, busy, or does not let us in
 */
export async function deliver(
  message: Message,
  { config, log }: { config: EmailConfig; log: Logger },
): Promise<string | undefined> {
  const { id, to, date, template, subject, text, html } = message;
  const { SMTP_URL: url, MAIL_FROM: from } = config;
  if (url === undefined || from === undefined) {
    log.info(
      { email: id, template, to: to.address, subject, text },
      'an e-mail; without SMTP_URL it ends here',
    );
    return undefined;
  }
  try {
    await transportOf(config, url).sendMail({
      messageId: `<${id}@${from.slice(from.lastIndexOf('@') + 1)}>`,
      date,
      from: { name: 'Warren', address: from },
      to: { name: headerText(to.name), address: to.address },
      subject: headerText(subject),
      text,
      html,
      // https://www.rfc-editor.org/rfc/rfc3834#section-5: no out-of-office answers, please.
      headers: { 'Auto-Submitted': 'auto-generated' },
    });
    return undefined;
  } catch (error) {
    if (isRefusal(error)) return error.message;
    throw error;
  }
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
