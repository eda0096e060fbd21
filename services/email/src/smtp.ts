// The connections to the mail server. Each carries one e-mail at a time, and every attempt has a time limit.
import { connect, type Socket } from 'node:net';
import { Transform } from 'node:stream';
import { createTransport, type SendMailOptions, type SMTPPoolOptions, type Transporter } from 'nodemailer';

export interface Limits {
  /** Maximum number of connections. */
  connections: number;
  /** Time limit from the start of an attempt until the mail server has the whole message, ms */
  handOver: number;
  /** Time limit from there to its response, ms */
  answer: number;
  /** How long an idle connection is kept, ms */
  idle: number;
}

/** Part of `handOver`. */
const CONNECT_TIMEOUT_MS = 5_000;
const GREETING_TIMEOUT_MS = 5_000;
/** Idle time before TCP keep-alive probes. */
const KEEP_ALIVE_DELAY_MS = 30_000;

/** The mail server does not offer SMTPUTF8, and the address of this e-mail needs it: https://www.rfc-editor.org/rfc/rfc6531 */
export class AddressUnsupported extends Error {
  override readonly name = 'AddressUnsupported';
  override readonly message =
    'the mail server does not offer SMTPUTF8, which an address with a non-ASCII local part needs';
}

/** The connections to one mail server: opened when needed, and kept while in use. */
export class Connections {
  readonly #url: string;
  readonly #limits: Limits;
  readonly #all = new Set<Connection>();
  #closed = false;

  constructor(url: string, limits: Limits) {
    this.#url = url;
    this.#limits = limits;
  }

  /**
   * Sends over a free connection, which is kept if the attempt succeeds. Until the mail server has the whole message, `signal` or
   * the time limit aborts the attempt, and the e-mail is certainly not delivered. After that it waits for the response, even if
   * `signal` is aborted: https://www.rfc-editor.org/rfc/rfc5321#section-4.5.3.2.6
   * @throws {AddressUnsupported} before anything is sent
   * @throws also when every connection is in use
   */
  async send(mail: SendMailOptions, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const connection = this.#free();
    try {
      await connection.send(mail, signal);
    } catch (error) {
      this.#drop(connection);
      throw error;
    }
    if (this.#closed) return;
    connection.rest(() => this.#drop(connection));
  }

  /** Aborts every attempt, and closes every connection. */
  close(): void {
    this.#closed = true;
    for (const connection of this.#all) this.#drop(connection);
  }

  #free(): Connection {
    if (this.#closed) throw new Error('the service is stopping: connections to the mail server are closed');
    for (const connection of this.#all) if (connection.free) return connection;
    if (this.#all.size >= this.#limits.connections)
      throw new Error(`all ${this.#limits.connections} connections to the mail server are in use`);
    const connection = new Connection(this.#url, this.#limits);
    this.#all.add(connection);
    return connection;
  }

  #drop(connection: Connection): void {
    this.#all.delete(connection);
    connection.close(new Error('the connection to the mail server was closed'));
  }
}

/** One connection, which sends one e-mail after the other. */
class Connection {
  readonly #limits: Limits;
  readonly #transport: Transporter;
  #socket: Socket | undefined;
  #closed: Error | undefined;
  /** Aborts the attempt in flight. */
  #fail: ((reason: Error) => void) | undefined;
  /** Whether the current message has a non-ASCII address. */
  #needsUtf8 = false;
  /** Whether the mail server has the whole current message, and so may deliver it. */
  #whole = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(url: string, limits: Limits) {
    this.#limits = limits;
    this.#transport = createTransport({
      url,
      // A pool of one connection, so that the socket is known.
      pool: true,
      maxConnections: 1,
      maxMessages: Number.POSITIVE_INFINITY,
      // Only the worker retries.
      maxRequeues: 0,
      connectionTimeout: CONNECT_TIMEOUT_MS,
      greetingTimeout: GREETING_TIMEOUT_MS,
      // This class times attempts and idle connections.
      socketTimeout: 2 * (limits.handOver + limits.answer + limits.idle),
      getSocket: (options: SMTPPoolOptions, done: SocketDone) => this.#connect(options, done),
      // nodemailer does not expose the server's extensions, but logs each command before it sends it.
      transactionLog: true,
      logger: {
        debug: ({ tnx }: { tnx?: string }, text: string) => tnx === 'client' && this.#check(text),
      },
      disableFileAccess: true,
      disableUrlAccess: true,
    });
    this.#transport.use('stream', ({ message }, done) => {
      this.#needsUtf8 = message.getEnvelope().to.some(isBeyondAscii);
      message.transform(gather);
      // nodemailer reads the stream only after the mail server has accepted DATA.
      message.processFunc((stream) => stream.once('end', () => this.#handedOver()));
      done();
    });
  }

  get free(): boolean {
    return this.#fail === undefined && this.#closed === undefined;
  }

  async send(mail: SendMailOptions, signal: AbortSignal): Promise<void> {
    const { promise: ended, reject } = Promise.withResolvers<never>();
    this.#fail = reject;
    this.#whole = false;
    this.#time(this.#limits.handOver, 'the mail server did not accept the e-mail');
    const stop = () => this.#whole || this.close(signal.reason);
    signal.addEventListener('abort', stop);
    try {
      await Promise.race([this.#transport.sendMail(mail), ended]);
    } finally {
      this.#fail = undefined;
      clearTimeout(this.#timer);
      signal.removeEventListener('abort', stop);
    }
  }

  /** Waits for the next e-mail; calls `onIdle` when none comes within `idle`. */
  rest(onIdle: () => void): void {
    this.#timer = setTimeout(onIdle, this.#limits.idle);
  }

  /** Aborts the attempt in flight, and sends nothing more. */
  close(reason: Error): void {
    if (this.#closed !== undefined) return;
    this.#closed = reason;
    clearTimeout(this.#timer);
    if (this.#fail !== undefined) {
      this.#fail(reason);
      this.#socket?.destroy(reason);
    }
    this.#transport.close();
  }

  /** nodemailer requests SMTPUTF8 only if the mail server offers it. Without it, the attempt ends before the command is sent. */
  #check(command: string): void {
    if (this.#needsUtf8 && command.startsWith('MAIL FROM:') && !/ SMTPUTF8\b/.test(command))
      this.close(new AddressUnsupported());
  }

  #handedOver(): void {
    if (this.#closed !== undefined) return;
    this.#whole = true;
    this.#time(this.#limits.answer, 'the mail server did not respond to the e-mail');
  }

  #time(ms: number, complaint: string): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.close(new Error(`${complaint} within ${ms / 1_000} s`)), ms);
  }

  /**
   * Connects as nodemailer would, but without Nagle's algorithm: nodemailer writes a message in many small parts, and each e-mail
   * would wait 40 ms for the server's delayed ACK. nodemailer starts TLS over this connection, if configured.
   */
  #connect({ host, port, secure }: SMTPPoolOptions, done: SocketDone): void {
    if (this.#closed !== undefined) {
      done(this.#closed);
      return;
    }
    const socket = connect({
      host: host || 'localhost',
      port: Number(port) || (secure ? 465 : 587),
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEP_ALIVE_DELAY_MS,
    });
    this.#socket = socket;
    const fail = (error: Error) => done(error);
    socket.once('error', fail);
    socket.setTimeout(CONNECT_TIMEOUT_MS, () =>
      socket.destroy(new Error(`could not connect to the mail server within ${CONNECT_TIMEOUT_MS} ms`)),
    );
    socket.once('connect', () => {
      socket.removeListener('error', fail);
      socket.setTimeout(0);
      socket.removeAllListeners('timeout');
      done(null, { connection: socket });
    });
  }
}

type SocketDone = Parameters<NonNullable<SMTPPoolOptions['getSocket']>>[1];

const isBeyondAscii = (text: string) => /[^\0-\x7f]/.test(text);

/** Buffers a message, so that it is sent in one write instead of ten. */
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
