// Calls other services: publishes a request to the exchange `rpc`, and waits for the reply in the queue of this connection.
import type { AnyMethod } from '@warren/events';
import type { Log, Origin } from '../context.ts';
import { PROBLEM_TYPE, Problem, type ProblemOptions, RETRY_SHORTLY, WarrenError } from '../errors.ts';
import { newId } from '../id.ts';
import { onDelivery } from '../messaging/deliveries.ts';
import type { Producers } from '../messaging/producers.ts';
import type { PublishError } from '../messaging/publisher.ts';
import type { RascalMessage, RascalSession } from '../messaging/rascal/rascal.ts';
import type { SharedPublisher } from '../messaging/shared-publisher.ts';
import { RPC, replySubscription } from '../messaging/topology.ts';
import type { RequestFor } from '../request/context.ts';
import { currentTraceparent, SpanKind, withSpan } from '../telemetry/tracing.ts';
import {
  behalfOf,
  check,
  JSON_TYPE,
  MAX_MESSAGE_BYTES,
  MAX_TIMEOUT_MS,
  parse,
  problemOf,
  properties,
  type RpcMetrics,
  TIMEOUT_HEADER,
} from './wire.ts';

export interface RpcClientOptions {
  service: string;
  publisher: SharedPublisher;
  producers: Producers;
  /** Whether the broker is connected and accepts messages. */
  available: () => boolean;
  log: Log;
  metrics: RpcMetrics;
}

const DEFAULT_TIMEOUT_MS = 2_000;
/** Requests that one replica has in flight at most. */
const MAX_PENDING = 1_000;

/** Why there is no reply. `abandoned`: the caller no longer waits. */
type Failure = 'invalid' | 'timeout' | 'unserved' | 'unavailable' | 'full';
type Outcome = 'answered' | 'problem' | Failure | 'abandoned';
type Waiting = PromiseWithResolvers<RascalMessage> & { method: AnyMethod };

export class RpcClient {
  readonly #options: RpcClientOptions;
  readonly #pending = new Map<string, Waiting>();
  #replyTo: string | undefined;

  constructor(options: RpcClientOptions) {
    this.#options = options;
    options.publisher.onBlocked = () => this.failPending();
    options.producers.expect(replySubscription(options.service));
  }

  attach(session: RascalSession, queue: string): void {
    this.#replyTo = queue;
    const subscription = replySubscription(this.#options.service);
    onDelivery(session, (message, ackOrNack) => {
      ackOrNack();
      const { correlationId } = message.properties;
      const waiting = typeof correlationId === 'string' ? this.#pending.get(correlationId) : undefined;
      if (waiting === undefined) {
        this.#options.metrics.rpcRepliesDropped.inc();
        return;
      }
      // Only the service of the method may reply; a reply of another does not end the wait.
      const { service } = waiting.method;
      if (this.#options.producers.refuse(message, subscription, [service]) === undefined)
        waiting.resolve(message);
    });
  }

  /** The connection is lost, and with it the queue of the replies. */
  failPending(): void {
    for (const waiting of this.#pending.values()) waiting.reject(unavailable());
  }

  readonly requestFor: RequestFor =
    (origin) =>
    (method, data, { timeout = DEFAULT_TIMEOUT_MS } = {}) => {
      const { service } = this.#options;
      // The broker would refuse it, and close the channel that all requests share.
      if (!method.callers.includes(service))
        return Promise.reject(
          new WarrenError(
            'invalid_service',
            `${method.method} may not be called by ${service}: its contract names ${method.callers.join(', ') || 'no callers'}`,
          ),
        );
      const started = performance.now();
      const observe = (outcome: Outcome) =>
        this.#options.metrics.rpcDuration.observe(
          { method: method.method, outcome },
          (performance.now() - started) / 1_000,
        );
      const attributes = { 'messaging.system': 'rabbitmq', 'messaging.destination.name': method.routingKey };
      return withSpan(`${method.method} request`, { kind: SpanKind.CLIENT, attributes }, async () => {
        try {
          const reply = await this.#call(method, data, Math.min(timeout, MAX_TIMEOUT_MS), origin);
          observe('answered');
          return reply as never;
        } catch (error) {
          observe(
            error instanceof RpcFailure ? error.outcome : error instanceof Problem ? 'problem' : 'abandoned',
          );
          throw error;
        }
      });
    };

  async #call(method: AnyMethod, data: object, timeout: number, origin: Origin): Promise<object> {
    const { signal } = origin;
    signal?.throwIfAborted();
    const replyTo = this.#replyTo;
    if (replyTo === undefined || !this.#options.available() || this.#options.publisher.blocked)
      throw unavailable();
    if (this.#pending.size >= MAX_PENDING) throw tooMany();
    const content = Buffer.from(JSON.stringify(data));
    if (content.length > MAX_MESSAGE_BYTES)
      throw new RangeError(
        `the request ${method.method} has ${content.length} bytes, more than ${MAX_MESSAGE_BYTES}: send a reference in place of the content`,
      );

    const id = newId();
    const waiting: Waiting = { ...Promise.withResolvers<RascalMessage>(), method };
    const timer = setTimeout(() => waiting.reject(timedOut(method, timeout)), timeout);
    const onAbort = () => waiting.reject(signal?.reason);
    signal?.addEventListener('abort', onAbort, { once: true });
    this.#pending.set(id, waiting);
    try {
      const options = this.#propertiesOf(id, method, timeout, { origin, replyTo });
      this.#send(method, content, options, waiting).catch(waiting.reject);
      return this.#read(method, await waiting.promise, origin.log);
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      this.#pending.delete(id);
    }
  }

  #propertiesOf(
    messageId: string,
    { routingKey }: AnyMethod,
    timeout: number,
    { origin, replyTo }: { origin: Origin; replyTo: string },
  ): object {
    const { correlationId, traceparent, caller } = origin;
    const { service, producers } = this.#options;
    const common = properties({
      messageId,
      type: routingKey,
      appId: service,
      userId: producers.user,
      correlationId,
      traceparent: currentTraceparent() ?? traceparent,
      timeout,
    });
    const headers = {
      ...common.headers,
      [TIMEOUT_HEADER]: Math.ceil(timeout),
      ...(caller !== undefined && behalfOf(caller)),
    };
    return { ...common, headers, contentType: JSON_TYPE, replyTo, mandatory: true };
  }

  async #send(method: AnyMethod, content: Buffer, options: object, waiting: Waiting): Promise<void> {
    const publisher = await this.#options.publisher.open().catch((cause) => {
      throw unavailable(cause);
    });
    publisher.publish(RPC, method.routingKey, content, options, (error?: PublishError) => {
      if (error === undefined) return;
      if (error.reason === 'refused')
        this.#options.log.error({ err: error, method: method.method }, 'the broker refused an RPC request');
      waiting.reject(error.reason === 'returned' ? methodUnserved(method) : unavailable(error));
    });
  }

  /** @throws {Problem} */
  #read(method: AnyMethod, { content, properties }: RascalMessage, log: Log): object {
    const invalid = (why: string) => {
      log.warn({ method: method.method, why }, 'RPC reply does not match its contract');
      return invalidReply(method);
    };
    let body: unknown;
    try {
      body = parse(content);
    } catch {
      throw invalid('invalid JSON');
    }
    if (properties.contentType === PROBLEM_TYPE) {
      const answered = problemOf(body);
      if (answered === undefined) throw invalid('invalid problem details');
      throw answered;
    }
    const { value, errors } = check(method.reply, body, 'the reply');
    if (errors.length > 0) throw invalid(errors.map(({ message }) => message).join('; '));
    return value;
  }
}

class RpcFailure extends Problem {
  readonly outcome: Failure;

  constructor(outcome: Failure, status: number, options: ProblemOptions) {
    super(status, options);
    this.outcome = outcome;
  }
}

const unavailable = (cause?: unknown) =>
  new RpcFailure('unavailable', 503, {
    title: 'Broker unavailable',
    code: 'broker_unavailable',
    detail: 'The message broker is unavailable; try again shortly.',
    headers: RETRY_SHORTLY,
    cause,
  });

const methodUnserved = ({ method, routingKey }: AnyMethod) =>
  new RpcFailure('unserved', 503, {
    title: 'Method unavailable',
    code: 'method_unserved',
    detail: `No service has bound a queue to ${routingKey} on this broker; start the service that handles ${method}.`,
    headers: RETRY_SHORTLY,
  });

const tooMany = () =>
  new RpcFailure('full', 503, {
    title: 'Too many requests pending',
    code: 'too_many_requests_pending',
    detail: `${MAX_PENDING} requests to other services are already in flight; try again shortly.`,
    headers: RETRY_SHORTLY,
  });

const timedOut = ({ method }: AnyMethod, timeout: number) =>
  new RpcFailure('timeout', 504, {
    title: 'Request timed out',
    code: 'request_timed_out',
    detail: `${method} did not respond within ${timeout} ms.`,
  });

const invalidReply = ({ method }: AnyMethod) =>
  new RpcFailure('invalid', 502, {
    title: 'Invalid reply',
    code: 'reply_invalid',
    detail: `The reply of ${method} does not match its contract.`,
  });
