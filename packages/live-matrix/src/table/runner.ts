import { MillraceError } from '@millrace/base/core';
import type { HashEngine, LaterCalls } from '../engines/engine.ts';
import { runTask, runTaskLater, type Task, type TaskResult } from './tasks.ts';

/** Runs tasks on this thread or in worker threads. `urgent` tasks (frames) go before the others (tables). */
export interface TaskRunner {
  readonly threads: number;
  run(task: Task, urgent: boolean): Promise<TaskResult>;
  close(): Promise<void>;
}

/**
 * Runs every task immediately on the calling thread, with a turn of the event loop in between.
 * @param turn resolves after a turn of the event loop
 */
export function createLocalRunner(engine: HashEngine, turn: () => Promise<unknown>): TaskRunner {
  let closed = false;
  return {
    threads: 0,
    async run(task, urgent) {
      if (!urgent) await turn();
      if (closed) throw new MillraceError('E_STATE', 'the receiver was closed');
      return runTask(engine, task);
    },
    async close() {
      closed = true;
    },
  };
}

/** Maximum number of concurrent tasks on libuv's threads: it has four, which also serve files and name lookups. */
export const MAX_LATER = 3;

/** Runs tasks on the engine's threads, without the memory cost of workers. */
export class LaterRunner implements TaskRunner {
  readonly threads: number;
  readonly #engine: HashEngine;
  readonly #later: LaterCalls;
  readonly #urgent: Job[] = [];
  readonly #waiting: Job[] = [];
  readonly #running = new Set<Promise<void>>();
  #closed = false;

  constructor(threads: number, engine: HashEngine, later: LaterCalls) {
    this.threads = threads;
    this.#engine = engine;
    this.#later = later;
  }

  run(task: Task, urgent: boolean): Promise<TaskResult> {
    if (this.#closed) return Promise.reject(new MillraceError('E_STATE', 'the receiver is closed'));
    return new Promise((resolve, reject) => {
      (urgent ? this.#urgent : this.#waiting).push({ task, resolve, reject });
      this.#next();
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    const jobs = [...this.#urgent.splice(0), ...this.#waiting.splice(0)];
    for (const job of jobs) job.reject(new MillraceError('E_STATE', 'the receiver was closed'));
    await Promise.all(this.#running);
  }

  #next(): void {
    while (this.#running.size < this.threads) {
      const job = this.#urgent.shift() ?? this.#waiting.shift();
      if (job === undefined) return;
      const work: Promise<void> = runTaskLater(this.#engine, this.#later, job.task)
        .then(job.resolve, job.reject)
        .finally(() => {
          this.#running.delete(work);
          this.#next();
        });
      this.#running.add(work);
    }
  }
}

/** A waiting or running task. */
export interface Job {
  readonly task: Task;
  resolve(result: TaskResult): void;
  reject(error: unknown): void;
}
