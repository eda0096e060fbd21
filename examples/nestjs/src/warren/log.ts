import { Logger } from '@nestjs/common';
import type { Log } from '@warren/chassis/outbox';

const nest = new Logger('Warren');

const line = (write: (message: object | string) => void) => (fields: object | string, message?: string) =>
  write(typeof fields === 'string' ? fields : { message, ...fields });

/** Warren's log lines by the logger of the Nest application. */
export const log: Log = {
  debug: line((message) => nest.debug(message)),
  info: line((message) => nest.log(message)),
  warn: line((message) => nest.warn(message)),
  error: line((message) => nest.error(message)),
};
