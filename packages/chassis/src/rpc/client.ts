// Asking another service: a request to the exchange `rpc`, and the wait for its reply in a queue of this connection's own.
import type { AnyMethod } from '@warren/events';
import type { Logger, Origin } from '../context.ts';
import { PROBLEM_TYPE, Problem, type ProblemOptions, RETRY_SHORTLY, WarrenError } from '../errors.ts';
import { newId } from '../id.ts';
import { onDelivery } from '../messaging/deliveries.ts';
import type { Producers } from '../messaging/producers.ts';
import type { PublishError } from '../messaging/publisher.ts';
import type { RascalMessage, RascalSession } from '../messaging/rascal/rascal.ts';
import type { SharedPublisher } from '../messaging/shared-publisher.ts';
import { RPC, replySubscription } from '../messaging/topology.ts';
import type { RequestFor } from '../request/context.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { currentTraceparent, SpanKind, withSpan } from '../telemetry/tracing.ts';
import {
  behalfOf,
  check,
  JSON_TYPE,
  LARGEST,
  LONGEST_TIMEOUT,
  parse,
  problemOf,
  properties,
  TIMEOUT_HEADER,
} from './wire.ts';

export interface RpcClientOptions {
  service: string;
  publisher: SharedPublisher;
  producers: Producers;
  /** Whether the broker is there and takes messages. */
  available: () => boolean;
  log: Logger;
  metrics: Metrics;
}

const DEFAULT_TIMEOUT = 2_000;
/** Replies that one replica waits for at once. */
const MAX_PENDING = 1_000;

/** Why there is no answer; `abandoned`: whoever asked did not wait any longer. */
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
      // Only the service of the method can answer; another's reply does not end the wait for its own.
      const { service } = waiting.method;
      if (this.#options.producers.refuse(message, subscription, [service]) === undefined)
        waiting.resolve(message);
    });
  }

  /** The connection is gone, and with it the queue that the replies would come to. */
  failPending(): void {
    for (const waiting of this.#pending.values()) waiting.reject(unavailable());
  }

  readonly requestFor: RequestFor =
    (origin) =>
    (method, data, { timeout = DEFAULT_TIMEOUT } = {}) => {
      const { service } = this.#options;
      // The broker would refuse it, and close the channel under all other requests.
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
          const reply = await this.#ask(method, data, Math.min(timeout, LONGEST_TIMEOUT), origin);
          observe('answered');
          return reply as never;
        } catch (error) {
          observe(
            error instanceof Unanswered ? error.outcome : error instanceof Problem ? 'problem' : 'abandoned',
          );
          throw error;
        }
      });
    };

  async #ask(method: AnyMethod, data: object, timeout: number, origin: Origin): Promise<object> {
    const { signal } = origin;
    signal?.throwIfAborted();
    const replyTo = this.#replyTo;
    if (replyTo === undefined || !this.#options.available() || this.#options.publisher.blocked)
      throw unavailable();
    if (this.#pending.size >= MAX_PENDING) throw tooMany();
    const content = Buffer.from(JSON.stringify(data));
    if (content.length > LARGEST)
      throw new RangeError(
        `the request ${method.method} has ${content.length} bytes, more than ${LARGEST}: send a reference in place of the content`,
      );

    const id = newId();
    const waiting: Waiting = { ...Promise.withResolvers<RascalMessage>(), method };
    const timer = setTimeout(() => waiting.reject(timedOut(method, timeout)), timeout);
    const onAbort = () => waiting.reject(signal?.reason);
    signal?.addEventListener('abort', onAbort, { once: true });
    this.#pending.set(id, waiting);
    try {
      const options = {
        ...properties({
          messageId: id,
          type: method.routingKey,
          appId: this.#options.service,
          userId: this.#options.producers.user,
          correlationId: origin.correlationId,
          traceparent: currentTraceparent() ?? origin.traceparent,
          timeout,
        }),
        contentType: JSON_TYPE,
        replyTo,
        mandatory: true,
      };
      options.headers[TIMEOUT_HEADER] = Math.ceil(timeout);
      if (origin.caller !== undefined) Object.assign(options.headers, behalfOf(origin.caller));
      this.#send(method, content, options, waiting).catch(waiting.reject);
      return this.#read(method, await waiting.promise, origin.log);
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      this.#pending.delete(id);
    }
  }

  async #send(method: AnyMethod, content: Buffer, options: object, waiting: Waiting): Promise<void> {
    const publisher = await this.#options.publisher.open().catch((cause) => {
      throw unavailable(cause);
    });
    publisher.publish(RPC, method.routingKey, content, options, (error?: PublishError) => {
      if (error === undefined) return;
      if (error.reason === 'refused')
        this.#options.log.error({ err: error, method: method.method }, 'the broker refused an RPC request');
      waiting.reject(error.reason === 'returned' ? unserved(method) : unavailable(error));
    });
  }

  /** @throws {Problem} */
  #read(method: AnyMethod, { content, properties }: RascalMessage, log: Logger): object {
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

class Unanswered extends Problem {
  readonly outcome: Failure;

  constructor(outcome: Failure, status: number, options: ProblemOptions) {
    super(status, options);
    this.outcome = outcome;
  }
}

const unavailable = (cause?: unknown) =>
  new Unanswered('unavailable', 503, {
    title: 'Broker unavailable',
    code: 'broker_unavailable',
    detail: 'The message broker is unavailable; try again shortly.',
    headers: RETRY_SHORTLY,
    cause,
  });

const unserved = ({ method, routingKey }: AnyMethod) =>
  new Unanswered('unserved', 503, {
    title: 'Method unavailable',
    code: 'method_unserved',
    detail: `No service has bound a queue to ${routingKey} on this broker; start the service that handles ${method}.`,
    headers: RETRY_SHORTLY,
  });

const tooMany = () =>
  new Unanswered('full', 503, {
    title: 'Too many requests pending',
    code: 'too_many_requests_pending',
    detail: `${MAX_PENDING} requests to other services are already in flight; try again shortly.`,
    headers: RETRY_SHORTLY,
  });

const timedOut = ({ method }: AnyMethod, timeout: number) =>
  new Unanswered('timeout', 504, {
    title: 'Request timed out',
    code: 'request_timed_out',
    detail: `${method} did not respond within ${timeout} ms.`,
  });

const invalidReply = ({ method }: AnyMethod) =>
  new Unanswered('invalid', 502, {
    title: 'Invalid reply',
    code: 'reply_invalid',
    detail: `The reply of ${method} does not match its contract.`,
  });
