import { port, positiveDuration } from '@warren/chassis';
import { type EdgeConfig, edgeConfig, upstreamUrl } from '@warren/edge';
import type { Upstream } from './paths.ts';

export interface GatewayConfig extends EdgeConfig {
  PORT: number;
  ADMIN_PORT: number;
  /** A variable of the chassis. */
  AUTH: 'off' | 'jwt';
  USER_URL: string;
  SESSION_URL: string;
  ORDER_URL: string;
  PAYMENT_URL: string;
  EMAIL_URL: string;
  /** Time limit of an overview, ms */
  OVERVIEW_TIMEOUT: number;
}

export const config = {
  PORT: port(3000),
  ADMIN_PORT: port(9000),
  ...edgeConfig,
  USER_URL: upstreamUrl('http://127.0.0.1:3001'),
  SESSION_URL: upstreamUrl('http://127.0.0.1:3002'),
  ORDER_URL: upstreamUrl('http://127.0.0.1:3003'),
  PAYMENT_URL: upstreamUrl('http://127.0.0.1:3004'),
  EMAIL_URL: upstreamUrl('http://127.0.0.1:3005'),
  OVERVIEW_TIMEOUT: positiveDuration('2s').description(
    'For all parts of an overview together; shorter than `REQUEST_TIMEOUT`.',
  ),
};

/** The URL of each service. */
export const upstreamsOf = (config: GatewayConfig): Record<Upstream, string> => ({
  user: config.USER_URL,
  session: config.SESSION_URL,
  order: config.ORDER_URL,
  payment: config.PAYMENT_URL,
  email: config.EMAIL_URL,
});
