import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Closable, ReadableMetrics, Sample } from '@millrace/base';

/** The metrics of a node with those of its process, by the names that Prometheus clients use. */
export interface ProcessMetrics extends Closable {
  samples(): Sample[];
}

export function withProcessMetrics(metrics: ReadableMetrics): ProcessMetrics {
  const delay = monitorEventLoopDelay({ resolution: 20 });
  delay.enable();
  const memory = metrics.gauge('process_resident_memory_bytes', 'resident memory');
  const cpu = metrics.counter('process_cpu_seconds_total', 'processor time of user and system');
  const started = metrics.gauge('process_start_time_seconds', 'start of the process, seconds since 1970');
  const lag = metrics.gauge('millrace_event_loop_delay_seconds', 'delay of the event loop since the last report, p99');
  let counted = 0;
  return {
    samples: () => {
      memory.set(process.memoryUsage.rss());
      const { user, system } = process.cpuUsage();
      const seconds = (user + system) / 1e6;
      cpu.add(seconds - counted);
      counted = seconds;
      started.set(Math.round(performance.timeOrigin / 1_000));
      // The histogram includes the interval of its own timer.
      if (delay.count > 0) lag.set(delay.percentile(99) / 1e9);
      delay.reset();
      return metrics.samples();
    },
    close: () => void delay.disable(),
  };
}
