// The connections to the mail server. One carries one e-mail at a time, and no attempt to send outlasts its time.
import { connect, type Socket } from 'node:net';
import { Transform } from 'node:stream';
import { createTransport, type SendMailOptions, type SMTPPoolOptions, type Transporter } from 'nodemailer';

export interface Limits {
  /** Connections at once. */
  connections: number;
  /** ms from the beginning of an attempt until the mail server has the whole message. */
  handOver: number;
  /** ms from there to its answer. */
  answer: number;
  /** ms that a connection is kept without use. */
  idle: number;
}

/** ms; within the hand-over. */
const CONNECT_TIMEOUT = 5_000;
const GREETING_TIMEOUT = 5_000;
/** ms of silence after which the network is asked whether the mail server is still there. */
const KEEP_ALIVE = 30_000;

/** The mail server does not offer SMTPUTF8, and the address of this e-mail needs it: https://www.rfc-editor.org/rfc/rfc6531 */
export class AddressUnsupported extends Error {
  override readonly name = 'AddressUnsupported';
  override readonly message =
    'the mail server does not offer SMTPUTF8, which an address with a non-ASCII local part needs';
}

/** The connections to one mail server: opened when needed, kept while they are used. */
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
   * Sends over a connection of its own, which is kept afterwards if all went well. Before the mail server has the whole message
   * the attempt ends with `signal` or with its time, whichever is first, and nothing can come of it any more. After that it
   * waits for the answer, whatever `signal` says: https://www.rfc-editor.org/rfc/rfc5321#section-4.5.3.2.6
   * @throws {AddressUnsupported} before any of it has left
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

  /** Ends every attempt, and closes every connection. */
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

/** One connection, over which e-mails go one after the other. */
class Connection {
  readonly #limits: Limits;
  readonly #transport: Transporter;
  #socket: Socket | undefined;
  #closed: Error | undefined;
  /** Ends the attempt under way. */
  #fail: ((reason: Error) => void) | undefined;
  /** Whether the message that is under way has an address beyond ASCII. */
  #needsUtf8 = false;
  /** Whether the mail server has all of the message that is under way, and may take it. */
  #whole = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(url: string, limits: Limits) {
    this.#limits = limits;
    this.#transport = createTransport({
      url,
      // Of one connection: whose socket it is, is known then.
      pool: true,
      maxConnections: 1,
      maxMessages: Number.POSITIVE_INFINITY,
      // The worker repeats, and it alone.
      maxRequeues: 0,
      connectionTimeout: CONNECT_TIMEOUT,
      greetingTimeout: GREETING_TIMEOUT,
      // Attempts and idle connections are timed here.
      socketTimeout: 2 * (limits.handOver + limits.answer + limits.idle),
      getSocket: (options: SMTPPoolOptions, done: SocketDone) => this.#connect(options, done),
      // nodemailer does not say what the mail server offers, but logs each command before it sends it.
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
      // It is read only once the mail server has said that it wants the message.
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

  /** Waits for the next e-mail; `tired` is called when none has come for a while. */
  rest(tired: () => void): void {
    this.#timer = setTimeout(tired, this.#limits.idle);
  }

  /** Ends the attempt under way. Whatever of it has not left stays here. */
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

  /** nodemailer asks for SMTPUTF8 only where the mail server offers it: without, the attempt ends before the command leaves. */
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
   * Connects as nodemailer would, but without Nagle's algorithm: it writes a message in many small parts, and each e-mail would
   * wait 40 ms for the server's delayed acknowledgement. TLS, where there is any, is nodemailer's, over this connection.
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
      keepAliveInitialDelay: KEEP_ALIVE,
    });
    this.#socket = socket;
    const fail = (error: Error) => done(error);
    socket.once('error', fail);
    socket.setTimeout(CONNECT_TIMEOUT, () =>
      socket.destroy(new Error(`could not connect to the mail server within ${CONNECT_TIMEOUT} ms`)),
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
