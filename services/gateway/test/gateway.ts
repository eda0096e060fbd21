// A gateway in the test's own process, and a client that says what it likes.
import { connect } from 'node:net';
import { type RunningService, start } from '@warren/chassis';
import { service } from '../src/service.ts';

const started: RunningService[] = [];

/** Nobody listens there: the broker is away, and so is every service that is not given. */
const NOBODY = 'http://127.0.0.1:9';

export async function openGateway(env: Record<string, string> = {}): Promise<RunningService> {
  const gateway = await start(service, {
    PORT: '0',
    ADMIN_PORT: '0',
    AMQP_URL: 'amqp://127.0.0.1:9',
    LOG_LEVEL: 'silent',
    RATE_LIMIT: 'off',
    SHUTDOWN_GRACE: '5s',
    USER_URL: NOBODY,
    SESSION_URL: NOBODY,
    ORDER_URL: NOBODY,
    PAYMENT_URL: NOBODY,
    EMAIL_URL: NOBODY,
    ...env,
  });
  started.push(gateway);
  return gateway;
}

/** Ends all that were opened: call it after each test. */
export async function closeGateways(): Promise<void> {
  await Promise.all(started.splice(0).map((gateway) => gateway.stop()));
}

export interface Talk {
  /** What came back so far. */
  text(): string;
  write(text: string): void;
  /** Resolves when the connection is over; `reset` when it was cut. */
  ended: Promise<{ text: string; reset: boolean }>;
  destroy(): void;
}

/** A raw connection; `text` goes out at once, byte for byte. */
export function talk(port: number, text = '', localAddress?: string): Talk {
  const socket = connect({ port, host: '127.0.0.1', ...(localAddress && { localAddress }) });
  let received = '';
  let reset = false;
  socket.setEncoding('latin1');
  socket.on('data', (chunk: string) => {
    received += chunk;
  });
  socket.on('error', () => {
    reset = true;
  });
  const ended = new Promise<{ text: string; reset: boolean }>((resolve) =>
    socket.on('close', () => resolve({ text: received, reset })),
  );
  socket.write(text, 'latin1');
  return {
    text: () => received,
    write: (more) => void socket.write(more, 'latin1'),
    ended,
    destroy: () => void socket.destroy(),
  };
}

/** Asks in one go and reads until the connection ends: say `connection: close`. */
export const ask = async (port: number, text: string) => (await talk(port, text).ended).text;
