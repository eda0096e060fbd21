import type { Socket } from 'node:net';

/** The socket of a client of pg, or of a connection or channel of amqplib; their types do not declare it. */
export const socketOf = (client: object): Socket =>
  (client as { connection: { stream: Socket } }).connection.stream;
