// Requests and responses over the broker, for any application: for reading only, because a reply may be lost or late.
import type { MethodDefinition } from '@warren/events';
import type { Log } from '../context.ts';
import { WarrenError } from '../errors.ts';
import { newId } from '../id.ts';
import { requestQueue } from '../messaging/topology.ts';
import type { RequestOptions } from '../request/context.ts';
import type { RpcHandler } from '../rpc/serve.ts';
import { childOf } from '../telemetry/child.ts';
import { guarded } from './log.ts';
import { DoorMessaging, type Messaging } from './messaging.ts';

export { defineMethod, type MethodDefinition } from '@warren/events';
export { Problem, problem, WarrenError } from '../errors.ts';
export type { RequestOptions } from '../request/context.ts';

/** The second argument of a handler. */
export interface RequestWork {
  readonly log: Log;
  readonly correlationId: string;
  /** Aborts at the deadline of the request. */
  readonly signal: AbortSignal;
}

/** A method and its handler; `handles` makes one. */
export type HandledMethod = RpcHandler;

/**
 * Binds a handler to a method of the application. It only reads; it throws a problem (`problem(404, { detail })`), and the problem
 * travels to the caller.
 * @example handles(findLoyalty, async ({ userId }) => ({ userId, points: await pointsOf(userId) }))
 */
export const handles = <Request extends object, Reply extends object>(
  method: MethodDefinition<Request, Reply>,
  handler: (request: Request, work: RequestWork) => Promise<Reply>,
): HandledMethod => ({ method, handle: handler });

export interface RequestsOptions {
  messaging: Messaging;
  /** The methods that the application handles: each is named `SERVICE.VERB`. */
  methods?: readonly HandledMethod[];
  /** Whether it calls other services. @defaultValue false */
  calls?: boolean;
  /** Handlers that run at once. @defaultValue 20 */
  concurrency?: number;
  hooks?: {
    /** @defaultValue that of the messaging */
    log?: Log;
    /** A request was handled here, or one of this application has its reply, or will have none. */
    onRequest?: (request: {
      side: 'handled' | 'sent';
      method: string;
      outcome: string;
      seconds: number;
    }) => void;
  };
}

export interface Requests {
  /** Returns at once; handles requests whenever the broker is available, until the messaging stops. */
  start(): void;
  /**
   * Calls a method of another service. Only with `calls`.
   * @param options.timeout ms to wait for the reply, 60,000 at most; default 2,000
   * @throws {Problem} that of the service; or 503 `broker_unavailable`, 503 `method_unserved`, 504 `request_timed_out`, 502
   *   `reply_invalid`
   */
  request<Request extends object, Reply extends object>(
    method: MethodDefinition<Request, Reply>,
    data: Request,
    options?: RequestOptions & { correlationId?: string },
  ): Promise<Reply>;
}

const CONCURRENCY = 20;

/**
 * @throws {WarrenError} `invalid_service`, when a method belongs to another service, or the messaging is open already
 * @example
 * const requests = createRequests({ messaging, methods: [handles(findLoyalty, ({ userId }) => find(userId))] });
 * requests.start();
 */
export function createRequests(options: RequestsOptions): Requests {
  const { methods = [], calls = false, concurrency = CONCURRENCY, hooks = {} } = options;
  const { messaging } = options;
  if (!(messaging instanceof DoorMessaging))
    throw new WarrenError(
      'invalid_service',
      'createRequests: `messaging` has to come from createMessaging()',
    );
  const foreign = methods.find(({ method }) => method.service !== messaging.service);
  if (foreign !== undefined)
    throw new WarrenError(
      'invalid_service',
      `createRequests: ${foreign.method.routingKey} belongs to the service '${foreign.method.service}', not '${messaging.service}'`,
    );
  const log = hooks.log ?? messaging.log;
  const onRequest = guarded(hooks.onRequest, log);
  const reportOf = (side: 'handled' | 'sent') => ({
    observe: (labels: { method: string; outcome: string }, seconds: number) =>
      onRequest({ side, ...labels, seconds }),
  });
  const rpc = messaging.joinRequests({
    methods,
    receivesReplies: calls,
    concurrency,
    log,
    metrics: {
      rpcDuration: reportOf('sent'),
      rpcHandlingDuration: reportOf('handled'),
      rpcRepliesDropped: { inc: () => {} },
    },
  });
  return {
    start() {
      if (methods.length > 0) messaging.run(requestQueue(messaging.service));
      else messaging.open();
    },
    request(method, data, { correlationId = newId(), ...more } = {}) {
      return rpc.requestFor({ correlationId, log: childOf(log, () => ({ correlationId }))() })(
        method,
        data,
        more,
      );
    },
  };
}
