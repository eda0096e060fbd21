import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { eventually } from '@warren/testkit';
import { type ParsedMail, simpleParser } from 'mailparser';
import { SMTPServer, type SMTPServerOptions } from 'smtp-server';

export interface Received {
  /** Of the envelope. */
  from: string;
  to: string[];
  /** As it came over the wire. */
  raw: string;
  mail: ParsedMail;
}

/** What a mail server may say instead of yes: `new Reply(550, 'no such user')`. */
export class Reply extends Error {
  readonly responseCode: number;

  constructor(responseCode: number, text: string) {
    super(text);
    this.responseCode = responseCode;
  }
}

export interface MailServerOptions {
  /** 0 takes any free one. */
  port?: number;
  /** Asked for every recipient; its answer is refused with. */
  onRecipient?: (address: string) => Reply | undefined | Promise<Reply | undefined>;
  /** Asked for every message that has come in whole, before the answer to it. */
  onMessage?: (received: Received) => Reply | undefined | Promise<Reply | undefined>;
  /** More for smtp-server. */
  server?: SMTPServerOptions;
}

/** A real SMTP server that keeps what it is given. */
export async function startMailServer(options: MailServerOptions = {}) {
  const { onRecipient = () => undefined, onMessage = () => undefined } = options;
  const received: Received[] = [];
  const offered: string[] = [];
  let connections = 0;
  const server = new SMTPServer({
    disabledCommands: ['AUTH', 'STARTTLS'],
    logger: false,
    closeTimeout: 100,
    onConnect(_session, callback) {
      connections += 1;
      callback();
    },
    async onRcptTo({ address }, _session, callback) {
      offered.push(address);
      callback(await onRecipient(address));
    },
    onData(stream, { envelope }, callback) {
      const chunks: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('end', async () => {
        const raw = Buffer.concat(chunks);
        const message: Received = {
          from: envelope.mailFrom ? envelope.mailFrom.address : '',
          to: envelope.rcptTo.map(({ address }) => address),
          raw: raw.toString(),
          mail: await simpleParser(raw),
        };
        const refused = await onMessage(message);
        if (refused === undefined) received.push(message);
        callback(refused);
      });
    },
    ...options.server,
  });
  server.on('error', () => {}); // a client that was killed
  server.listen(options.port ?? 0, '127.0.0.1');
  await once(server.server, 'listening');
  const { port } = server.server.address() as AddressInfo;

  const to = (address: string) => received.filter((message) => message.to.includes(address));
  return {
    port,
    url: `smtp://127.0.0.1:${port}`,
    /** What it has taken, in order. */
    received,
    /** Recipients it was asked for, also those it refused. */
    offered,
    /** Connections that were ever made. */
    connections: () => connections,
    open: () => server.connections.size,
    to,
    /** Waits for that many e-mails to an address. */
    waitFor: (address: string, count = 1, timeout = 10_000) =>
      eventually(
        () => {
          const found = to(address);
          if (found.length < count)
            throw new Error(`${found.length} of ${count} e-mails to ${address} have come`);
          return found;
        },
        { timeout },
      ),
    stop: () => new Promise<void>((resolve) => server.close(() => resolve())),
  };
}

export type MailServer = Awaited<ReturnType<typeof startMailServer>>;
