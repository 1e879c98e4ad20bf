import { type ControlClient, MAX_REPORT_BYTES, MAX_SAMPLES, type MetricSample } from '@millrace/api';
import { type Closable, Closer, type Logger, MillraceError, type ReadableMetrics, sleep } from '@millrace/base';
import { type MeasuredNode, withProcessMetrics } from './process-metrics.ts';

/** Interval of the reports, ms. A usual interval of Prometheus is 15 s. */
const REPORT_MS = 10_000;

/** Sends a node's metrics to control at regular intervals, because the node opens no port for them. */
export function reportMetrics(options: {
  readonly metrics: ReadableMetrics;
  readonly node: MeasuredNode;
  readonly control: Pick<ControlClient, 'metrics'>;
  readonly logger: Logger;
}): Closable {
  const closer = new Closer();
  const measured = closer.add(withProcessMetrics(options.metrics, options.node));
  const stop = new AbortController();
  const { signal } = stop;
  const run = async () => {
    for (let failed = false; !signal.aborted; await sleep(REPORT_MS, signal)) {
      try {
        await options.control.metrics.report({ body: { samples: reported(measured.samples()) } }, { signal });
        failed = false;
      } catch (err) {
        signal.throwIfAborted();
        if (!failed) options.logger.warn({ err }, 'metrics not reported to control: the next report follows');
        failed = true;
      }
    }
  };
  const running = run().catch(() => undefined);
  closer.add({
    close: async () => {
      stop.abort(new MillraceError('E_UNAVAILABLE', 'the node is closing'));
      await running;
    },
  });
  return closer;
}

/** Bytes of a report around its samples. */
const FRAME_BYTES = 100;

/** The first samples, as many as a report may have. */
export function reported(samples: readonly MetricSample[]): MetricSample[] {
  const kept: MetricSample[] = [];
  let bytes = FRAME_BYTES;
  for (const sample of samples.slice(0, MAX_SAMPLES)) {
    bytes += Buffer.byteLength(JSON.stringify(sample)) + 1;
    if (bytes > MAX_REPORT_BYTES) break;
    kept.push(sample);
  }
  return kept;
}
