// An SMTP server on this machine that takes every e-mail and keeps it.
import type { AddressInfo } from 'node:net';
import { SMTPServer } from 'smtp-server';

export interface Mail {
  /** With its angle brackets, as it stands in the header. */
  messageId: string;
  /** As the envelope says. */
  to: string;
  /** As it stands in the header, encoded or not. */
  subject: string;
  /** Header and body, as they came. */
  source: string;
}

export interface Mailbox {
  /** For `SMTP_URL` */
  url: string;
  /** Every e-mail that was taken, repeats included, in the order of their arrival. */
  mails: Mail[];
  /** What is done with an e-mail that has been taken, before the client is told so. */
  beforeAnswer: (mail: Mail) => Promise<void> | void;
  close(): Promise<void>;
}

export async function openMailbox(): Promise<Mailbox> {
  const mails: Mail[] = [];
  const server = new SMTPServer({
    authOptional: true,
    disabledCommands: ['STARTTLS', 'AUTH'],
    logger: false,
    onData(stream, session, done) {
      const chunks: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('end', () => {
        const source = Buffer.concat(chunks).toString();
        const mail = {
          messageId: header(source, 'message-id'),
          to: session.envelope.rcptTo.map(({ address }) => address).join(', '),
          subject: header(source, 'subject'),
          source,
        };
        mails.push(mail);
        Promise.resolve(mailbox.beforeAnswer(mail)).then(() => done(), done);
      });
    },
  });
  // A client that is killed breaks its connection off.
  server.on('error', () => {});
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  const mailbox: Mailbox = {
    url: `smtp://127.0.0.1:${(server.server.address() as AddressInfo).port}`,
    mails,
    beforeAnswer: () => {},
    close: () => new Promise((closed) => server.close(() => closed())),
  };
  return mailbox;
}

/** A header, unfolded; empty when there is none. */
function header(source: string, name: string): string {
  const head = source.slice(0, source.indexOf('\r\n\r\n')).replace(/\r\n[ \t]+/g, ' ');
  const line = head.split('\r\n').find((each) => each.toLowerCase().startsWith(`${name}:`));
  return line?.slice(name.length + 1).trim() ?? '';
}
