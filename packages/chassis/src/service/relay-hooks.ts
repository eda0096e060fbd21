import type { RelayHooks } from '../outbox/publish.ts';
import type { Metrics } from '../telemetry/metrics.ts';

/** Counts what a relay reports. */
export function countingHooks({
  eventsPublished,
  eventPublishDuration,
  eventsUnconsumed,
}: Metrics): RelayHooks {
  // Looked up by their labels once for each type, not for each event.
  const made = (type: string) => ({
    confirmed: eventsPublished.labels({ type, outcome: 'confirmed' }),
    failed: eventsPublished.labels({ type, outcome: 'failed' }),
    parked: eventsPublished.labels({ type, outcome: 'parked' }),
    duration: eventPublishDuration.labels({ type }),
  });
  const known = new Map<string, ReturnType<typeof made>>();
  const metricsOf = (type: string) => {
    const metrics = known.get(type) ?? made(type);
    known.set(type, metrics);
    return metrics;
  };
  return {
    onPublished(type, outcome, seconds) {
      const metrics = metricsOf(type);
      metrics[outcome].inc();
      if (outcome === 'confirmed') metrics.duration.observe(seconds);
    },
    onUnconsumed: (type) => eventsUnconsumed.inc({ type }),
  };
}
