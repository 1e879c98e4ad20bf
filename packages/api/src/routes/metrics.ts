import { z } from 'zod';
import { uint } from '../fields.ts';
import { json, route, text } from '../route.ts';

const label = z.string().regex(/^[a-zA-Z_][a-zA-Z0-9_]{0,63}$/);

/** One series of a node. `count` is the number of a histogram's observations, `value` their sum. */
export const metricSample = z.strictObject({
  name: z.string().regex(/^[a-zA-Z_][a-zA-Z0-9_]{0,99}$/),
  kind: z.enum(['counter', 'gauge', 'histogram']),
  help: z.string().max(200),
  labels: z.record(label, z.string().max(100)),
  value: z.number(),
  count: uint,
});
export type MetricSample = z.output<typeof metricSample>;

/** Series of one node, and bytes of its report. A node with more reports the first ones. */
export const MAX_SAMPLES = 1_000;
export const MAX_REPORT_BYTES = 512 * 1024;

export const metricsRoutes = {
  report: route('POST', '/v1/metrics', {
    summary: 'a node’s metrics, because proactive nodes open no port',
    callers: ['segments', 'keys', 'distribution'],
    action: 'metrics.report',
    body: json(z.strictObject({ samples: z.array(metricSample).max(MAX_SAMPLES) })),
    maxBody: MAX_REPORT_BYTES,
  }),
  read: route('GET', '/v1/metrics', {
    summary: 'metrics of all nodes, in the Prometheus text format 0.0.4',
    callers: ['user'],
    action: 'metrics.read',
    answer: text,
    errors: ['E_FORBIDDEN'],
  }),
};
