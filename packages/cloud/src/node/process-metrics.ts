import { statfsSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Closable, ReadableMetrics, Sample } from '@millrace/base';
import { expiryOf } from '@millrace/identity';
import type { NodeConfig } from '../config.ts';

/** The metrics of a node with those of its process, by the names that Prometheus clients use. */
export interface ProcessMetrics extends Closable {
  samples(): Sample[];
}

/** The parts of a node's configuration that its metrics show. */
export type MeasuredNode = Pick<NodeConfig, 'folder' | 'tls' | 'directories'>;

export function withProcessMetrics(metrics: ReadableMetrics, node: MeasuredNode): ProcessMetrics {
  const delay = monitorEventLoopDelay({ resolution: 20 });
  delay.enable();
  const memory = metrics.gauge('process_resident_memory_bytes', 'resident memory');
  const cpu = metrics.counter('process_cpu_seconds_total', 'processor time of user and system');
  const started = metrics.gauge('process_start_time_seconds', 'start of the process, seconds since 1970');
  const lag = metrics.gauge('millrace_event_loop_delay_seconds', 'delay of the event loop since the last report, p99');
  const sequence = metrics.gauge('millrace_directory_sequence', 'number of the directory that the node uses');
  const expires = metrics.gauge('millrace_certificate_expires_seconds', 'end of the node’s certificate, since 1970');
  const free = metrics.gauge('millrace_disk_free_bytes', 'space left for the node on its disk');
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
      if (node.directories !== undefined) sequence.set(node.directories.sequence);
      expires.set(expiryOf(node.tls.certificate) / 1_000);
      const left = diskFree(node.folder);
      if (left !== undefined) free.set(left);
      return metrics.samples();
    },
    close: () => void delay.disable(),
  };
}

/** Undefined if the file system does not tell. */
function diskFree(folder: string): number | undefined {
  try {
    const { bavail, bsize } = statfsSync(folder);
    return bavail * bsize;
  } catch {
    return undefined;
  }
}
