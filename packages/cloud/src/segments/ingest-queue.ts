import { setMaxListeners } from 'node:events';
import {
  Backoff,
  type Counter,
  type Logger,
  type Metrics,
  MillraceError,
  sleep,
  toMillraceError,
} from '@millrace/base';
import type { IngestJob, IngestRecord } from './ingest-job.ts';
import type { StagedSegments } from './staged-segments.ts';

/** Longest delay before a failed job is retried, ms. */
const MAX_DELAY_MS = 5_000;

export interface IngestQueueModules<R extends IngestRecord> {
  readonly job: IngestJob<R>;
  /** Whether this node does the jobs of a design. */
  readonly isOwn: (design: string) => boolean;
  readonly staged: StagedSegments;
  readonly logger: Logger;
  readonly metrics: Metrics;
}

/** Moves uploads into the vault, one at a time. Each is retried until it is complete, refused or cancelled. */
export class IngestQueue<R extends IngestRecord> {
  readonly #job: IngestJob<R>;
  readonly #isOwn: (design: string) => boolean;
  readonly #staged: StagedSegments;
  readonly #logger: Logger;
  readonly #outcomes: Counter;
  readonly #stop = new AbortController();
  #current: { readonly design: string; readonly cancel: AbortController } | undefined;
  #running: Promise<void> = Promise.resolve();

  constructor({ job, isOwn, staged, logger, metrics }: IngestQueueModules<R>) {
    this.#job = job;
    this.#isOwn = isOwn;
    this.#staged = staged;
    this.#logger = logger;
    this.#outcomes = metrics.counter('millrace_ingest_total', 'uploads that were stored or refused, by kind');
    setMaxListeners(0, this.#stop.signal); // one for each segment that is being fetched
  }

  /** Continues the jobs of a killed process. */
  async start(): Promise<void> {
    for await (const [id, { design }] of this.#job.pending.list()) if (this.#isOwn(design)) this.#queue(id, design);
  }

  /** Adds a job, unless it is in the queue. Durable when it resolves. */
  async begin(id: string, record: R): Promise<void> {
    if (await this.#job.pending.create(id, record)) this.#queue(id, record.design);
  }

  /** Removes all jobs of the design. No more of it is stored after this resolves. */
  async cancel(design: string): Promise<void> {
    const { pending } = this.#job;
    for await (const [id, record] of pending.list()) if (record.design === design) await pending.remove(id);
    if (this.#current?.design === design)
      this.#current.cancel.abort(new MillraceError('E_DESIGN_DELETED', 'the owner has deleted the design'));
  }

  async close(): Promise<void> {
    this.#stop.abort(new MillraceError('E_UNAVAILABLE', 'the node is closing'));
    await this.#running;
  }

  #queue(id: string, design: string): void {
    this.#running = this.#running.then(() => this.#untilDone(id, design)).catch(() => undefined);
  }

  async #untilDone(id: string, design: string): Promise<void> {
    const { name, pending } = this.#job;
    const cancel = new AbortController();
    const signal = AbortSignal.any([this.#stop.signal, cancel.signal]);
    setMaxListeners(0, signal);
    this.#current = { design, cancel };
    const backoff = new Backoff({ firstMs: 200, mostMs: MAX_DELAY_MS });
    while (!signal.aborted) {
      let record: R | undefined;
      try {
        record = await pending.get(id);
        if (record === undefined) return; // cancelled while it waited in the queue
        if (record.stored !== true) {
          await this.#job.ingest(record, signal);
          await pending.update(id, (current) => ({ ...current, stored: true }));
        }
        await this.#staged.wipe(design, signal);
        await this.#job.complete(id, record);
        await pending.remove(id);
        this.#outcomes.add(1, { job: name, outcome: 'complete' });
        return this.#logger.info({ design, job: name }, 'upload stored in the vault');
      } catch (error) {
        if (signal.aborted) return;
        const coded = toMillraceError(error);
        if (record !== undefined && (coded.code === 'E_UPLOAD' || !coded.retryable)) {
          this.#logger.warn({ err: coded, design, job: name }, 'upload refused');
          this.#outcomes.add(1, { job: name, outcome: 'refused' });
          await this.#job.refuse(id, record, coded, signal);
          return pending.remove(id);
        }
        const delay = Math.round(backoff.next());
        this.#logger.warn({ err: coded, design, job: name, retryInMs: delay }, 'upload not stored; retrying');
        await sleep(delay, signal);
      }
    }
  }
}
