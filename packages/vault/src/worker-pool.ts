import { type ResourceLimits, type TransferListItem, Worker } from 'node:worker_threads';
import { type Closable, isErrorCode, MillraceError } from '@millrace/base';
import type { JobAnswer, JobFailure, JobMessage } from './worker-jobs.ts';

export interface WorkerPoolOptions {
  /** Compiled script of the threads: Node 20 does not load TypeScript. */
  readonly script: URL;
  /** Maximum number of threads. */
  readonly threads: number;
  /** Maximum jobs per thread. Further jobs wait for the first free thread. */
  readonly perThread: number;
  readonly resourceLimits?: ResourceLimits;
  /** Treatment of running jobs on close: wait for them, or reject them. */
  readonly onClose: 'finish' | 'abandon';
  readonly closed: () => MillraceError;
}

interface Job<Input, Done> {
  readonly message: JobMessage<Input>;
  readonly transfer: readonly TransferListItem[];
  readonly resolve: (done: Done) => void;
  readonly reject: (error: unknown) => void;
}

interface Thread<Input, Done> {
  readonly worker: Worker;
  readonly jobs: Map<number, Job<Input, Done>>;
}

/**
 * Threads started on demand. Only threads with a job keep the process alive. When a thread dies, its jobs fail; the
 * next job starts another thread.
 */
export class WorkerPool<Input, Done> implements Closable {
  readonly #options: WorkerPoolOptions;
  readonly #threads = new Set<Thread<Input, Done>>();
  readonly #queue: Job<Input, Done>[] = [];
  /** Called when a job ends while the pool is closing. */
  #onIdle: () => void = () => undefined;
  #next = 0;
  #closed = false;

  constructor(options: WorkerPoolOptions) {
    this.#options = options;
  }

  /** @param transfer buffers of the job to transfer to the thread; everything else is copied */
  run(input: Input, transfer: readonly TransferListItem[] = []): Promise<Done> {
    if (this.#closed) return Promise.reject(this.#options.closed());
    return new Promise((resolve, reject) => {
      this.#queue.push({ message: { id: this.#next++, input }, transfer, resolve, reject });
      this.#pump();
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    if (this.#options.onClose === 'abandon') this.#abandon();
    else if (this.#isBusy()) await new Promise<void>((resolve) => (this.#onIdle = resolve));
    const threads = [...this.#threads];
    this.#threads.clear();
    await Promise.all(threads.map(({ worker }) => worker.terminate()));
  }

  #abandon(): void {
    const jobs = [...this.#queue.splice(0), ...[...this.#threads].flatMap((thread) => [...thread.jobs.values()])];
    for (const { jobs: theirs } of this.#threads) theirs.clear();
    for (const { reject } of jobs) reject(this.#options.closed());
  }

  #isBusy(): boolean {
    return this.#queue.length > 0 || [...this.#threads].some(({ jobs }) => jobs.size > 0);
  }

  #pump(): void {
    while (this.#queue.length > 0) {
      const thread = this.#freeThread();
      const job = thread && this.#queue.shift();
      if (thread === undefined || job === undefined) return;
      thread.jobs.set(job.message.id, job);
      thread.worker.ref();
      thread.worker.postMessage(job.message, job.transfer);
    }
  }

  /** The thread with the fewest jobs. A new thread is preferred to a busy one. */
  #freeThread(): Thread<Input, Done> | undefined {
    let least: Thread<Input, Done> | undefined;
    for (const thread of this.#threads)
      if (thread.jobs.size < (least?.jobs.size ?? Number.POSITIVE_INFINITY)) least = thread;
    if (least?.jobs.size === 0) return least;
    if (this.#threads.size < this.#options.threads) return this.#start();
    return least !== undefined && least.jobs.size < this.#options.perThread ? least : undefined;
  }

  #start(): Thread<Input, Done> {
    const { script, resourceLimits } = this.#options;
    const worker = new Worker(script, { execArgv: [], ...(resourceLimits && { resourceLimits }) });
    const thread: Thread<Input, Done> = { worker, jobs: new Map() };
    worker.unref();
    worker.on('message', (answer: JobAnswer<Done>) => this.#answered(thread, answer));
    worker.on('error', (error) => this.#failed(thread, error));
    this.#threads.add(thread);
    return thread;
  }

  #answered(thread: Thread<Input, Done>, answer: JobAnswer<Done>): void {
    const job = thread.jobs.get(answer.id);
    thread.jobs.delete(answer.id);
    if (thread.jobs.size === 0) thread.worker.unref();
    if ('done' in answer) job?.resolve(answer.done);
    else job?.reject(errorOf(answer.failed));
    this.#pump();
    if (!this.#isBusy()) this.#onIdle();
  }

  #failed(thread: Thread<Input, Done>, error: unknown): void {
    this.#threads.delete(thread);
    for (const { reject } of thread.jobs.values()) reject(error);
    thread.jobs.clear();
    this.#pump();
    if (!this.#isBusy()) this.#onIdle();
  }
}

/** Rebuilds a MillraceError, or a system error with its code. */
function errorOf({ code, message }: JobFailure): Error {
  return isErrorCode(code) ? new MillraceError(code, message) : Object.assign(new Error(message), { code });
}
