// Traces. Without OTEL_EXPORTER_OTLP_ENDPOINT the SDK is not loaded and no span is created; the trace context of a caller is passed on
// unchanged, so that the traces of other services stay connected.
import { AsyncLocalStorage } from 'node:async_hooks';
import {
  type Attributes,
  type Context,
  type ContextManager,
  context,
  isSpanContextValid,
  ROOT_CONTEXT,
  type Span,
  type SpanContext,
  type SpanKind,
  SpanStatusCode,
  type Tracer,
  trace,
} from '@opentelemetry/api';
import { within } from '../concurrency.ts';

export type { Attributes, Span } from '@opentelemetry/api';
export { SpanKind } from '@opentelemetry/api';

let active: { tracer: Tracer; shutdown(): Promise<void>; users: number } | undefined;
const passing = new AsyncLocalStorage<string>();

/**
 * A well-formed W3C `traceparent`: of version 00, which ends with the flags, or of a later one, which may go on.
 * https://www.w3.org/TR/trace-context/#versioning-of-traceparent
 */
const TRACEPARENT =
  /^(?!ff|00.{54})[\da-f]{2}-(?!0{32})([\da-f]{32})-(?!0{16})([\da-f]{16})-([\da-f]{2})(?:-.*)?$/;

export function isTraceparent(text: string | undefined): text is string {
  return text !== undefined && text.length <= 255 && TRACEPARENT.test(text);
}

/** The trace's id, for log lines. */
export function traceIdOf(traceparent: string | undefined): string | undefined {
  return traceparent === undefined ? undefined : TRACEPARENT.exec(traceparent)?.[1];
}

/** W3C `traceparent` of the active span; without tracing, that of the caller. */
export function currentTraceparent(): string | undefined {
  if (active === undefined) return passing.getStore();
  const span = trace.getSpanContext(context.active());
  if (span === undefined || !isSpanContextValid(span)) return undefined;
  return `00-${span.traceId}-${span.spanId}-${span.traceFlags.toString(16).padStart(2, '0')}`;
}

export interface SpanOptions {
  kind?: SpanKind;
  attributes?: Attributes;
  /** W3C `traceparent` of the caller; default: the active span. A malformed one is ignored. */
  parent?: string;
}

/**
 * Runs `run` in a span; the span fails when `run` does. With tracing off `run` gets no span.
 * @example await withSpan('publish user.created', { kind: SpanKind.PRODUCER, parent: row.traceparent }, () => publish(row))
 */
export function withSpan<T>(
  name: string,
  options: SpanOptions,
  run: (span?: Span) => Promise<T>,
): Promise<T> {
  const parent = isTraceparent(options.parent) ? options.parent : undefined;
  if (active === undefined) return parent === undefined ? run() : passing.run(parent, run);
  const { kind, attributes } = options;
  const base = parent === undefined ? context.active() : trace.setSpanContext(ROOT_CONTEXT, remote(parent));
  return active.tracer.startActiveSpan(name, { kind, attributes }, base, async (span) => {
    try {
      return await run(span);
    } catch (error) {
      const failure = error instanceof Error ? error : new Error(String(error));
      span.recordException(failure);
      span.setStatus({ code: SpanStatusCode.ERROR, message: failure.message });
      throw error;
    } finally {
      span.end();
    }
  });
}

function remote(traceparent: string): SpanContext {
  const [, traceId, spanId, flags] = TRACEPARENT.exec(traceparent) as unknown as [
    string,
    string,
    string,
    string,
  ];
  return { traceId, spanId, traceFlags: Number.parseInt(flags, 16), isRemote: true };
}

export interface Tracing {
  /** Exports what is left. */
  shutdown(): Promise<void>;
}

export const tracing = {
  /**
   * Starts to export spans to `endpoint` (OTLP over HTTP); without one it does nothing. A process has one tracer: the
   * first start names its service, and the last shutdown ends it.
   */
  async start(options: { service: string; version: string; endpoint?: string }): Promise<Tracing> {
    if (!options.endpoint) return { shutdown: async () => {} };
    active ??= await load({ ...options, endpoint: options.endpoint });
    const mine = active;
    mine.users += 1;
    let stopped = false;
    return {
      async shutdown() {
        if (stopped) return;
        stopped = true;
        mine.users -= 1;
        if (mine.users > 0) return;
        active = undefined;
        await mine.shutdown();
      },
    };
  },
};

/** For the export of the last spans at shutdown. */
const FLUSH_TIMEOUT_MS = 1_000;

async function load(options: {
  service: string;
  version: string;
  endpoint: string;
}): Promise<NonNullable<typeof active>> {
  const [
    { BatchSpanProcessor, TracerProvider },
    { OTLPTraceExporter },
    { defaultResource, resourceFromAttributes },
  ] = await Promise.all([
    import('@opentelemetry/sdk-trace'),
    import('@opentelemetry/exporter-trace-otlp-http'),
    import('@opentelemetry/resources'),
  ]);
  const exporter = new OTLPTraceExporter({ url: `${options.endpoint.replace(/\/$/, '')}/v1/traces` });
  const provider = new TracerProvider({
    resource: defaultResource().merge(
      resourceFromAttributes({ 'service.name': options.service, 'service.version': options.version }),
    ),
    spanProcessors: [new BatchSpanProcessor({ exporter })],
  });
  context.setGlobalContextManager(new AsyncContexts().enable());
  trace.setGlobalTracerProvider(provider);
  return {
    tracer: provider.getTracer('warren', options.version),
    users: 0,
    async shutdown() {
      // An unavailable collector must neither fail nor delay the shutdown.
      await within(
        FLUSH_TIMEOUT_MS,
        provider.shutdown().catch(() => {}),
      );
      trace.disable();
      context.disable();
    },
  };
}

/** The API's context over `await`. */
class AsyncContexts implements ContextManager {
  readonly #storage = new AsyncLocalStorage<Context>();

  active(): Context {
    return this.#storage.getStore() ?? ROOT_CONTEXT;
  }

  with<A extends unknown[], F extends (...args: A) => ReturnType<F>>(
    now: Context,
    run: F,
    thisArg?: ThisParameterType<F>,
    ...args: A
  ): ReturnType<F> {
    return this.#storage.run(now, () => run.apply(thisArg, args));
  }

  bind<T>(now: Context, target: T): T {
    if (typeof target !== 'function') return target;
    const storage = this.#storage;
    return function bound(this: unknown, ...args: unknown[]) {
      return storage.run(now, () => target.apply(this, args));
    } as T;
  }

  enable(): this {
    return this;
  }

  disable(): this {
    this.#storage.disable();
    return this;
  }
}
