import { duration, port } from '@warren/chassis';

export interface SessionConfig {
  PORT: number;
  ADMIN_PORT: number;
  /** Lifetime of a session, ms */
  SESSION_TTL: number;
}

export const config = {
  PORT: port(3002),
  ADMIN_PORT: port(9002),
  SESSION_TTL: duration()
    .default('24h')
    .description('How long a session lives; for sessions opened from now on.'),
};
