import type { Origin } from '../context.ts';
import { WarrenError } from '../errors.ts';
import type { RequestMethod } from './serve.ts';

/** Gives a handler its `request`: what it asks carries on where the handler's own work came from. */
export type RequestFor = (origin: Origin) => RequestMethod;

/** Of a service that receives no replies. */
export const requestNothing: RequestFor = () => async (method) => {
  throw new WarrenError(
    'invalid_service',
    `${method.method} cannot be asked: combine receivesReplies(…) into the vhost 'consume' of broker.ts`,
  );
};
