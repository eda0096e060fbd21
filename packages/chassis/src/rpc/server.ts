// Handles RPC requests: a few at a time, in turns of their callers, each with a reply before its deadline or with none. A request is
// acknowledged when the broker has its reply, so that another replica handles it if this one dies. It only reads, and may be handled twice.
import type { AnyMethod } from '@warren/events';
import { admit, requireOwner, unauthorized } from '../auth/access.ts';
import { audit } from '../auth/audit.ts';
import type { Auth } from '../auth/auth.ts';
import { type Caller, SERVICE } from '../auth/caller.ts';
import { backoff } from '../backoff.ts';
import { pause } from '../concurrency.ts';
import type { Log, Logger, Origin } from '../context.ts';
import { asError, PROBLEM_TYPE, problem, WarrenError } from '../errors.ts';
import { newId } from '../id.ts';
import { lossOf, onDelivery } from '../messaging/deliveries.ts';
import type { Producers } from '../messaging/producers.ts';
import type { PublishError } from '../messaging/publisher.ts';
import type { RascalMessage, RascalSession } from '../messaging/rascal/rascal.ts';
import type { SharedPublisher } from '../messaging/shared-publisher.ts';
import { RPC, requestQueue } from '../messaging/topology.ts';
import type { ReadContext, RequestFor } from '../request/context.ts';
import { type Deadline, startDeadline } from '../request/deadline.ts';
import { toProblem } from '../request/problems.ts';
import { invalid } from '../request/validation.ts';
import { childOf } from '../telemetry/child.ts';
import { limitedWarnings } from '../telemetry/seldom.ts';
import { currentTraceparent, SpanKind, traceIdOf, withSpan } from '../telemetry/tracing.ts';
import type { RpcHandler } from './serve.ts';
import { type Share, Turns } from './turns.ts';
import {
  callerIn,
  check,
  JSON_TYPE,
  MAX_MESSAGE_BYTES,
  parse,
  properties,
  type RpcMetrics,
  type RpcRequest,
  requestOf,
} from './wire.ts';

export interface RpcServerOptions {
  service: string;
  methods: readonly RpcHandler[];
  publisher: SharedPublisher;
  producers: Producers;
  /** Absent with AUTH=off. */
  auth?: Auth | undefined;
  /** Handlers that run at once. */
  concurrency: number;
  /** What every handler gets. */
  context: Pick<ReadContext, 'database' | 'config' | 'now'>;
  requestFor: RequestFor;
  log: Log;
  metrics: RpcMetrics;
}

/** `refused`: above the caller's share. `forged`: from a caller that the contract of the method does not name. Both are not parsed. */
type Outcome = 'answered' | 'problem' | 'failed' | 'late' | 'malformed' | 'refused' | 'forged';

/** As many requests as one calling replica has in flight at most, so that it alone never loses any; less than the prefetch. */
const CALLER_SHARE: Share = { requests: 1_000, bytes: 8 * 1024 * 1024 };

interface RpcResponse {
  content: Buffer;
  contentType: string;
  outcome: Outcome;
  /** Why there is no reply with data now. */
  reason?: string;
}

export class RpcServer {
  readonly #options: RpcServerOptions;
  readonly #methods: ReadonlyMap<string, RpcHandler>;
  /** Of all methods. */
  readonly #callers: readonly string[];
  readonly #turns: Turns;
  readonly #warn: ReturnType<typeof limitedWarnings>;

  constructor(options: RpcServerOptions) {
    this.#options = options;
    this.#warn = limitedWarnings(options.log);
    this.#turns = new Turns(options.concurrency, CALLER_SHARE);
    this.#callers = [...new Set(options.methods.flatMap(({ method }) => method.callers))];
    options.producers.expect(requestQueue(options.service));
    this.#methods = new Map(options.methods.map((served) => [served.method.routingKey, served]));
  }

  attach(session: RascalSession): void {
    const lost = lossOf(session);
    onDelivery(session, (message, ackOrNack) => {
      this.#take(message, performance.now(), lost)
        .catch((error) => this.#options.log.error({ err: error }, 'cannot handle an RPC request'))
        .finally(() => {
          if (!lost.aborted) ackOrNack();
        });
    });
  }

  async #take(message: RascalMessage, arrived: number, lost: AbortSignal): Promise<void> {
    const { metrics, producers, service } = this.#options;
    const request = requestOf(message);
    const definition = this.#methods.get(message.fields.routingKey)?.method;
    // A name that a caller may have invented must not become a label.
    const method = definition?.method ?? 'unknown';
    const count = (outcome: Outcome) => {
      const seconds = (performance.now() - arrived) / 1_000;
      metrics.rpcHandlingDuration.observe({ method, outcome }, seconds);
      return Math.round(seconds * 1e6) / 1e3;
    };
    if (request === undefined) {
      this.#warn(
        { method, ms: count('malformed') },
        'dropped RPC request: missing message-id, reply-to or timeout',
      );
      return;
    }
    const { caller } = request;
    // The reply goes to the queue that the request names, so its sender must be the owner of that queue, and a caller in the contract.
    // The broker would refuse any other reply, and close the channel that all replies share.
    const callers = (definition?.callers ?? this.#callers).filter((each) => each === caller);
    const forged = producers.refuse(message, requestQueue(service), callers);
    if (forged !== undefined || callers.length === 0) {
      count('forged');
      return;
    }
    const { length } = message.content;
    if (!this.#turns.admit(caller, length)) {
      const fields = { code: 'rpc_share', method, from: caller, ms: count('refused') };
      this.#warn(fields, 'dropped RPC request: this caller already has its share of waiting requests');
      return;
    }
    try {
      await this.#handle(message, request, arrived, lost, { method, count });
    } finally {
      this.#turns.release(caller, length);
    }
  }

  async #handle(
    message: RascalMessage,
    request: RpcRequest,
    arrived: number,
    lost: AbortSignal,
    { method, count }: { method: string; count: (outcome: Outcome) => number },
  ): Promise<void> {
    const { log } = this.#options;
    const { correlationId, traceparent, caller } = request;
    const traceId = traceIdOf(traceparent);
    const bound = childOf(log, () =>
      traceId === undefined ? { correlationId } : { correlationId, traceId },
    )();
    await this.#turns.enter(caller);
    const ends = arrived + request.timeout;
    const left = ends - performance.now();
    // Another replica has the request now, or its caller no longer waits.
    if (lost.aborted || left <= 0) {
      this.#turns.leave(caller);
      if (!lost.aborted) bound.warn({ method, outcome: 'late', ms: count('late') }, 'rpc');
      return;
    }
    const deadline = startDeadline(left);
    const onLost = () =>
      deadline.abandon(new WarrenError('broker_unavailable', 'The connection to the broker was lost.'));
    lost.addEventListener('abort', onLost, { once: true });
    const work = this.#respond(message, request, deadline.signal, bound);
    void work.then(() => this.#turns.leave(caller));
    const response = await Promise.race([work, deadline.passed]);
    const isSent =
      response !== undefined && !lost.aborted && (await this.#publish(request, response, deadline, ends));
    deadline.clear();
    lost.removeEventListener('abort', onLost);
    if (lost.aborted) return;
    const outcome = response === undefined || !isSent ? 'late' : response.outcome;
    const level = outcome === 'failed' ? 'error' : outcome === 'late' ? 'warn' : 'info';
    const reason = response?.reason;
    bound[level]({ method, from: caller, outcome, ms: count(outcome), reason }, 'rpc');
  }

  /** Never rejects: an error becomes a problem. */
  async #respond(
    message: RascalMessage,
    request: RpcRequest,
    signal: AbortSignal,
    log: Logger,
  ): Promise<RpcResponse> {
    const { routingKey } = message.fields;
    const attributes = { 'messaging.system': 'rabbitmq', 'messaging.destination.name': routingKey };
    try {
      const handler = this.#methods.get(routingKey);
      if (handler === undefined)
        throw problem(503, { code: 'method_unserved', detail: `${routingKey} is no longer handled.` });
      return await withSpan(
        `${handler.method.method} serve`,
        { kind: SpanKind.SERVER, attributes, parent: request.traceparent },
        () => this.#call(handler, message, request, { signal, log }),
      );
    } catch (error) {
      const refusal = toProblem(error);
      const isStopped = signal.aborted && error === signal.reason;
      if (refusal.status === 500 && !isStopped) log.error({ err: error }, 'RPC request failed unexpectedly');
      return {
        content: Buffer.from(JSON.stringify(refusal)),
        contentType: PROBLEM_TYPE,
        outcome: refusal.status >= 500 ? 'failed' : 'problem',
        ...(refusal.status > 500 && { reason: asError(error).message }),
      };
    }
  }

  /** Validates and authorises the request, and calls its handler. @throws {Problem} */
  async #call(
    { method, handle }: RpcHandler,
    message: RascalMessage,
    { correlationId, caller: from }: RpcRequest,
    { signal, log }: { signal: AbortSignal; log: Logger },
  ): Promise<RpcResponse> {
    const { context, requestFor } = this.#options;
    const { value, errors } = check(method.request, parsed(message.content), 'the request');
    if (errors.length > 0) throw invalid(errors);
    this.#authorise(message, { method, from, value, log });
    const traceparent = currentTraceparent();
    const origin: Origin = { correlationId, ...(traceparent !== undefined && { traceparent }), log, signal };
    const request = requestFor(origin);
    const reply = await handle(value, { ...context, log, correlationId, signal, request });
    const content = Buffer.from(JSON.stringify(reply));
    if (content.length > MAX_MESSAGE_BYTES)
      throw new Error(
        `the reply has ${content.length} bytes, more than ${MAX_MESSAGE_BYTES}: return it in pages`,
      );
    return { content, contentType: JSON_TYPE, outcome: 'answered' };
  }

  /**
   * With AUTH=jwt, requires that the user for whom the gateway calls may read the reply. Another service that the contract names calls
   * in its own name. Both need a sender that the broker has validated.
   * @throws {Problem} 401, 403
   */
  #authorise(
    message: RascalMessage,
    { method, from, value, log }: { method: AnyMethod; from: string; value: object; log: Logger },
  ): void {
    const { auth, producers } = this.#options;
    if (auth === undefined) return;
    if (!producers.isFrom(message, from))
      throw unauthorized('token_invalid', `The broker does not confirm that ${from} sent this request.`);
    const caller: Caller = from === auth.gateway ? callerIn(message) : SERVICE;
    const { access } = method;
    const owners =
      typeof access === 'object' ? [(value as Record<string, string>)[access.owner] as string] : undefined;
    const audited = { caller, deed: 'read', action: method.method, owners } as const;
    try {
      admit(access, caller);
      if (owners !== undefined) requireOwner(caller, 'read', owners);
    } catch (error) {
      audit(log, audited, error);
      throw error;
    }
    if (caller.kind === 'operator') audit(log, audited, 200);
  }

  /** @returns whether the broker has the reply before the deadline */
  async #publish(
    request: RpcRequest,
    { content, contentType }: RpcResponse,
    deadline: Deadline,
    ends: number,
  ): Promise<boolean> {
    const { service, producers, log } = this.#options;
    const delays = backoff({ min: 20, max: 500 });
    while (!deadline.signal.aborted) {
      try {
        const publisher = await this.#options.publisher.open();
        const options = {
          ...properties({
            messageId: newId(),
            type: contentType === PROBLEM_TYPE ? 'problem' : 'reply',
            appId: service,
            userId: producers.user,
            correlationId: request.correlationId,
            traceparent: request.traceparent,
            timeout: ends - performance.now(),
          }),
          correlationId: request.id,
          contentType,
        };
        const sent = new Promise<true>((resolve, reject) =>
          publisher.publish(RPC, request.replyTo, content, options, (error?: PublishError) =>
            error === undefined ? resolve(true) : reject(error),
          ),
        );
        return (await Promise.race([sent, deadline.passed])) === true;
      } catch (error) {
        log.debug({ err: error }, 'cannot publish an RPC reply; retrying until its deadline');
        await pause(delays.next(), deadline.signal);
      }
    }
    return false;
  }
}

/** @throws {Problem} 400 */
function parsed(content: Buffer): unknown {
  try {
    return parse(content);
  } catch (cause) {
    throw problem(400, {
      code: 'invalid_input',
      title: 'Invalid input',
      detail: 'The request is not valid JSON.',
      cause,
    });
  }
}
