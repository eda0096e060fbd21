// Serving requests: few at a time, in turns of those who ask, each answered before its deadline or not at all. A request is acknowledged when its
// answer is on the broker, so that one whose server dies is served by another; it only reads, and may be served twice.
import type { AnyMethod } from '@warren/events';
import { admit, requireOwner, unauthorized } from '../auth/access.ts';
import { audit } from '../auth/audit.ts';
import type { Auth } from '../auth/auth.ts';
import { type Caller, SERVICE } from '../auth/caller.ts';
import { backoff } from '../backoff.ts';
import { pause } from '../concurrency.ts';
import type { Logger, Origin } from '../context.ts';
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
import type { Metrics } from '../telemetry/metrics.ts';
import { limitedWarnings } from '../telemetry/seldom.ts';
import { currentTraceparent, SpanKind, traceIdOf, withSpan } from '../telemetry/tracing.ts';
import type { RpcHandler } from './serve.ts';
import { type Share, Turns } from './turns.ts';
import {
  callerIn,
  check,
  JSON_TYPE,
  LARGEST,
  parse,
  properties,
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
  /** Handlers at once. */
  concurrency: number;
  /** What every handler is given. */
  context: Pick<ReadContext, 'database' | 'config' | 'now'>;
  requestFor: RequestFor;
  log: Logger;
  metrics: Metrics;
}

/** `refused`: more than the requester's share; `forged`: by whom the method's contract does not name. Both unread. */
type Outcome = 'answered' | 'problem' | 'failed' | 'late' | 'malformed' | 'refused' | 'forged';

/** As many requests as a replica that asks has open at once, so that one alone never loses any; less than the prefetch. */
const SHARE: Share = { requests: 1_000, bytes: 8 * 1024 * 1024 };

interface RpcResponse {
  content: Buffer;
  contentType: string;
  outcome: Outcome;
  /** Why it cannot be answered now. */
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
    this.#turns = new Turns(options.concurrency, SHARE);
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
    // What a caller may have invented is no label.
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
    // Its reply would go to the queue of the one whom it names: who asks must be that one, and one that may. A reply to any other
    // would be refused by the broker, which closes the channel under all of them.
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
      await this.#serve(message, request, arrived, lost, { method, count });
    } finally {
      this.#turns.release(caller, length);
    }
  }

  async #serve(
    message: RascalMessage,
    request: RpcRequest,
    arrived: number,
    lost: AbortSignal,
    { method, count }: { method: string; count: (outcome: Outcome) => number },
  ): Promise<void> {
    const { log } = this.#options;
    const { correlationId, traceparent, caller } = request;
    const traceId = traceIdOf(traceparent);
    const bound = log.child(traceId === undefined ? { correlationId } : { correlationId, traceId });
    await this.#turns.enter(caller);
    const ends = arrived + request.timeout;
    const left = ends - performance.now();
    // RpcHandler by another, who has the request now; or for nobody, who has waited long enough.
    if (lost.aborted || left <= 0) {
      this.#turns.leave(caller);
      if (!lost.aborted) bound.warn({ method, outcome: 'late', ms: count('late') }, 'rpc');
      return;
    }
    const deadline = startDeadline(left);
    const onLost = () =>
      deadline.abandon(new WarrenError('broker_unavailable', 'The connection to the broker was lost.'));
    lost.addEventListener('abort', onLost, { once: true });
    const work = this.#answer(message, request, deadline.signal, bound);
    void work.then(() => this.#turns.leave(caller));
    const answer = await Promise.race([work, deadline.passed]);
    const answered =
      answer !== undefined && !lost.aborted && (await this.#reply(request, answer, deadline, ends));
    deadline.clear();
    lost.removeEventListener('abort', onLost);
    if (lost.aborted) return;
    const outcome = answer === undefined || !answered ? 'late' : answer.outcome;
    const level = outcome === 'failed' ? 'error' : outcome === 'late' ? 'warn' : 'info';
    const reason = answer?.reason;
    bound[level]({ method, from: caller, outcome, ms: count(outcome), reason }, 'rpc');
  }

  /** Never rejects: an error is an answer too. */
  async #answer(
    message: RascalMessage,
    { correlationId, traceparent: parent, caller: from }: RpcRequest,
    signal: AbortSignal,
    log: Logger,
  ): Promise<RpcResponse> {
    const { context, requestFor } = this.#options;
    const { content, fields } = message;
    const { routingKey } = fields;
    const attributes = { 'messaging.system': 'rabbitmq', 'messaging.destination.name': routingKey };
    try {
      const served = this.#methods.get(routingKey);
      if (served === undefined)
        throw problem(503, { code: 'method_unserved', detail: `${routingKey} is no longer handled.` });
      const { method, handle } = served;
      return await withSpan(
        `${method.method} serve`,
        { kind: SpanKind.SERVER, attributes, parent },
        async () => {
          const { value, errors } = check(method.request, parsed(content), 'the request');
          if (errors.length > 0) throw invalid(errors);
          this.#authorise(message, { method, from, value, log });
          const traceparent = currentTraceparent();
          const origin: Origin = {
            correlationId,
            ...(traceparent !== undefined && { traceparent }),
            log,
            signal,
          };
          const request = requestFor(origin);
          const reply = await handle(value, { ...context, log, correlationId, signal, request });
          const answer = Buffer.from(JSON.stringify(reply));
          if (answer.length > LARGEST)
            throw new Error(`the reply has ${answer.length} bytes, more than ${LARGEST}: return it in pages`);
          return { content: answer, contentType: JSON_TYPE, outcome: 'answered' };
        },
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

  /**
   * With AUTH=jwt, requires that whom the gateway asks for may read the answer. Another service that the contract names asks in its
   * own name. Neither is believed without the broker's word for it.
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

  /** @returns whether the answer is on the broker, before its deadline */
  async #reply(
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
