import { MillraceError, toMillraceError } from '@millrace/base/core';
import type { Job, TaskRunner } from './runner.ts';
import type { Task, TaskResult } from './tasks.ts';
import { fromWire, type WorkerAnswer } from './worker-messages.ts';

/** A thread with an engine: one answer per task. */
export interface Thread {
  post(task: Task): void;
  onAnswer(listener: (answer: WorkerAnswer) => void): void;
  /** Called when the thread has failed and no longer answers. */
  onError(listener: (error: unknown) => void): void;
  /** Marks the thread as idle: it must not keep the process alive until the next task. */
  rest(): void;
  end(): Promise<unknown>;
}

/** Runs each task on the next idle thread. */
export class WorkerRunner implements TaskRunner {
  readonly threads: number;
  readonly #idle: Thread[] = [];
  readonly #busy = new Map<Thread, Job>();
  readonly #urgent: Job[] = [];
  readonly #waiting: Job[] = [];
  #closed = false;

  constructor(threads: number, start: () => Thread) {
    this.threads = threads;
    for (let i = 0; i < threads; i++) this.#idle.push(this.#start(start));
  }

  run(task: Task, urgent: boolean): Promise<TaskResult> {
    if (this.#closed) return Promise.reject(new MillraceError('E_STATE', 'the receiver is closed'));
    return new Promise((resolve, reject) => {
      (urgent ? this.#urgent : this.#waiting).push({ task, resolve, reject });
      this.#next();
    });
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const threads = [...this.#idle, ...this.#busy.keys()];
    const jobs = [...this.#urgent.splice(0), ...this.#waiting.splice(0), ...this.#busy.values()];
    this.#busy.clear();
    for (const job of jobs) job.reject(new MillraceError('E_STATE', 'the receiver was closed'));
    await Promise.all(threads.map((thread) => thread.end()));
  }

  #start(start: () => Thread): Thread {
    const thread = start();
    thread.onAnswer((answer) => this.#answered(thread, answer));
    thread.onError((error) => this.#failed(thread, error));
    return thread;
  }

  #next(): void {
    while (this.#idle.length > 0) {
      const job = this.#urgent.shift() ?? this.#waiting.shift();
      if (job === undefined) return;
      const thread = this.#idle.pop();
      if (thread === undefined) return;
      this.#busy.set(thread, job);
      thread.post(job.task);
    }
  }

  #answered(thread: Thread, answer: WorkerAnswer): void {
    const job = this.#busy.get(thread);
    this.#busy.delete(thread);
    if (this.#closed) return;
    thread.rest();
    this.#idle.push(thread);
    if ('error' in answer) job?.reject(fromWire(answer.error));
    else job?.resolve(answer.result);
    this.#next();
  }

  /** A thread that dies is an internal fault: pending tasks reject, and no new ones are accepted. */
  #failed(thread: Thread, error: unknown): void {
    this.#busy.get(thread)?.reject(toMillraceError(error));
    this.#busy.delete(thread);
    void this.close();
  }
}
