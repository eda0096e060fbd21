export { childOf } from './child.ts';
export { createLog, describeError } from './log.ts';
export { createMetrics, type Metrics, type Registry } from './metrics.ts';
export {
  currentTraceparent,
  isTraceparent,
  SpanKind,
  type SpanOptions,
  type Tracing,
  traceIdOf,
  tracing,
  withSpan,
} from './tracing.ts';
