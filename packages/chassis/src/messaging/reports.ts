// What a consumer reports: log lines and metrics of one queue.
import type { CloudEvent } from '@warren/events';
import type { Logger, Origin } from '../context.ts';
import { childOf } from '../telemetry/log.ts';
import type { Counter, Metrics } from '../telemetry/metrics.ts';
import { traceIdOf } from '../telemetry/tracing.ts';

const OUTCOMES = ['handled', 'duplicate', 'retried', 'dead'] as const;

export type QueueMetrics = ReturnType<typeof metricsOf>;

/** Looked up by their labels once, not for each event. Counters start at 0, or `rate()` misses the first increment. */
export function metricsOf(metrics: Metrics, labels: { queue: string; type: string }) {
  const counters = OUTCOMES.map((outcome) => {
    const counter = metrics.eventsConsumed.labels({ ...labels, outcome });
    counter.inc(0);
    return [outcome, counter] as const;
  });
  return {
    consumed: Object.fromEntries(counters) as Record<(typeof OUTCOMES)[number], Counter.Internal>,
    duration: metrics.eventHandlingDuration.labels(labels),
    lag: metrics.eventLag.labels(labels),
  };
}

/** The fields of every log line about an event. */
export function fieldsOf(event: CloudEvent): object {
  const { id: eventId, type: eventType } = event;
  const traceId = traceIdOf(event.traceparent);
  return {
    eventId,
    eventType,
    correlationId: event.correlationid ?? eventId,
    ...(traceId !== undefined && { traceId }),
  };
}

export function originOf(event: CloudEvent, log: Logger): Origin {
  const bound = childOf(log, () => fieldsOf(event));
  return {
    correlationId: event.correlationid ?? event.id,
    causationId: event.id,
    ...(event.traceparent !== undefined && { traceparent: event.traceparent }),
    get log() {
      return bound();
    },
  };
}
