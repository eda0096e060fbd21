// The metrics of the chassis, and the counters of the services.
import type { ServiceDescription } from '../../packages/chassis/src/index.ts';
import { createMetrics } from '../../packages/chassis/src/telemetry/metrics.ts';
import { code, codes, table } from './table.ts';

/** Of prom-client, about the process and Node.js. */
const DEFAULT_METRICS = /^(process|nodejs)_/;

export function metricTables(services: readonly ServiceDescription[]): Record<string, string> {
  const { registry } = createMetrics({ service: '', version: '', http: true, database: true, broker: true });
  // The type of prom-client names no label names.
  const metrics = registry.getMetricsAsArray() as unknown as Metric[];
  return {
    metrics: table(
      ['metric', 'type', 'labels', ''],
      metrics
        .filter(({ name }) => !DEFAULT_METRICS.test(name))
        .map(({ name, type, labelNames, help }) => [code(name), type, codes(labelNames), help]),
    ),
    'service-metrics': table(
      ['metric', 'service', 'labels and their values', ''],
      services.flatMap(({ name: service, counters = [] }) =>
        counters.map(({ name, help, labels }) => [
          code(name),
          service,
          Object.entries(labels)
            .map(([label, values]) => `${code(label)}: ${codes(values)}`)
            .join('; '),
          help,
        ]),
      ),
    ),
  };
}

interface Metric {
  name: string;
  type: string;
  help: string;
  labelNames: string[];
}
