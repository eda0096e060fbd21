// What a consumer reports: log lines and metrics of one queue.
import type { CloudEvent } from '@warren/events';
import type { Log, Origin } from '../context.ts';
import { childOf } from '../telemetry/child.ts';
import type { Counter, Metrics } from '../telemetry/metrics.ts';
import { traceIdOf } from '../telemetry/tracing.ts';

const OUTCOMES = ['handled', 'duplicate', 'retried', 'dead'] as const;

/** What became of a delivery. */
export type Outcome = (typeof OUTCOMES)[number];

/** What a consumer reports of its queue. */
export interface QueueReport {
  /**
   * @param seconds from the start of its batch to the commit; of a delivery that was handled, or is a duplicate
   * @param lag seconds from the time of the event to the commit; of one that was handled
   */
  consumed(outcome: Outcome, seconds?: number, lag?: number): void;
}

/** Looked up by their labels once, not for each event. Counters start at 0, or `rate()` misses the first increment. */
export function reportTo(metrics: Metrics, labels: { queue: string; type: string }): QueueReport {
  const counters = OUTCOMES.map((outcome) => {
    const counter = metrics.eventsConsumed.labels({ ...labels, outcome });
    counter.inc(0);
    return [outcome, counter] as const;
  });
  const consumed = Object.fromEntries(counters) as Record<Outcome, Counter.Internal>;
  const duration = metrics.eventHandlingDuration.labels(labels);
  const lag = metrics.eventLag.labels(labels);
  return {
    consumed(outcome, seconds, late) {
      consumed[outcome].inc();
      if (seconds !== undefined) duration.observe(seconds);
      if (late !== undefined) lag.observe(late);
    },
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

export function originOf(event: CloudEvent, log: Log): Origin {
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
