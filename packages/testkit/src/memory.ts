import { readFileSync } from 'node:fs';

/** Peaks of one process in MB (10^6 bytes). */
export interface Peak {
  /** VmHWM, which includes pages of mapped files that the system can reclaim. */
  readonly resident: number;
  /** RssAnon: memory of the process itself. */
  readonly own: number;
}

/** Watches /proc for the peaks of processes by name. A name may move to another process. */
export class MemoryWatch {
  readonly #pids = new Map<string, number>();
  readonly #peaks = new Map<string, Peak>();
  readonly #timer: NodeJS.Timeout;

  constructor() {
    this.#timer = setInterval(() => this.sample(), 50);
  }

  watch(name: string, pid: number): void {
    this.#pids.set(name, pid);
  }

  sample(): void {
    for (const [name, pid] of this.#pids) {
      const status = statusOf(pid);
      if (status === undefined) continue;
      const { resident = 0, own = 0 } = this.#peaks.get(name) ?? {};
      this.#peaks.set(name, {
        resident: Math.max(resident, fieldOf(status, 'VmHWM')),
        own: Math.max(own, fieldOf(status, 'RssAnon')),
      });
    }
  }

  /** Returns the peaks since the last call. */
  take(): Record<string, Peak> {
    this.sample();
    const peaks = Object.fromEntries(this.#peaks);
    this.#peaks.clear();
    return peaks;
  }

  close(): void {
    clearInterval(this.#timer);
  }
}

function statusOf(pid: number): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/status`, 'utf8');
  } catch {
    return undefined; // the process has exited
  }
}

function fieldOf(status: string, field: string): number {
  const kilobytes = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(status)?.[1];
  return Math.round(((kilobytes === undefined ? 0 : Number(kilobytes)) * 1024) / 1e5) / 10;
}
