import { setMaxListeners } from 'node:events';
import {
  Backoff,
  type Clock,
  type Counter,
  type Logger,
  type Metrics,
  MillraceError,
  toMillraceError,
} from '@millrace/base';
import type { Directory } from '@millrace/protocol';
import { type HeldJob, IngestClaims } from './ingest-claims.ts';
import type { IngestJob, IngestRecord } from './ingest-job.ts';
import type { StagedSegments } from './staged-segments.ts';

/** Longest delay before a failed job is retried, ms. */
const MAX_DELAY_MS = 5_000;
/** Times in ms. `look`: how often it is looked for jobs that wait, or that another node does no longer. */
const TIMES = { beat: 2_000, stale: 10_000, look: 2_000 };
/** A node that has not tried a failed job for this time begins with the shortest delay again, ms. */
const FORGET_MS = 60_000;
const GIVEN_UP = 'upload given up: cancelled, or taken over';

export interface IngestQueueModules<R extends IngestRecord> {
  readonly job: IngestJob<R>;
  /** Id of this node. */
  readonly node: string;
  readonly directory: Directory;
  readonly staged: Pick<StagedSegments, 'wipe'>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly times?: typeof TIMES;
}

/**
 * Moves uploads into the vault, one at a time. Each is retried until it is complete, refused or cancelled. Nodes that
 * share their stores share the jobs: each takes the oldest one that nobody does.
 */
export class IngestQueue<R extends IngestRecord> {
  readonly #job: IngestJob<R>;
  readonly #claims: IngestClaims<R>;
  readonly #staged: IngestQueueModules<R>['staged'];
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #outcomes: Counter;
  readonly #look: number;
  readonly #stop = new AbortController();
  /** Jobs that have failed here, and when this node may try them again, on the monotonic clock. */
  readonly #failed = new Map<string, { readonly backoff: Backoff; due: number }>();
  #current: { readonly design: string; readonly cancel: AbortController } | undefined;
  #running: Promise<void> = Promise.resolve();
  #wake: () => void = () => undefined;
  #asked = false;

  constructor({ job, node, directory, staged, clock, logger, metrics, times = TIMES }: IngestQueueModules<R>) {
    this.#job = job;
    this.#claims = new IngestClaims({ pending: job.pending, node, directory, clock, logger, times });
    this.#look = times.look;
    this.#staged = staged;
    this.#clock = clock;
    this.#logger = logger;
    this.#outcomes = metrics.counter('millrace_ingest_total', 'uploads that were stored or refused, by kind');
    setMaxListeners(0, this.#stop.signal); // one for each segment that is being fetched
  }

  /** Starts the work: on what is in the table, then on what comes. */
  start(): void {
    this.#running = this.#run();
  }

  /** Adds a job, unless it is known. Durable when it resolves. */
  async begin(id: string, record: R): Promise<void> {
    const begun = this.#clock.now();
    await this.#job.pending.change(id, (known) => {
      if (known !== undefined && !(known.ended === 'refused' && this.#job.repeats)) return known;
      return { ...record, begun };
    });
    this.#failed.delete(id);
    this.#asked = true;
    this.#wake();
  }

  /** Removes all jobs of the design. This node stores no more of it after this resolves. */
  async cancel(design: string): Promise<void> {
    const { pending } = this.#job;
    for await (const [id] of pending.list({ index: 'design', group: design })) await pending.remove(id);
    if (this.#current?.design === design)
      this.#current.cancel.abort(new MillraceError('E_DESIGN_DELETED', 'the owner has deleted the design'));
  }

  async close(): Promise<void> {
    this.#stop.abort(new MillraceError('E_UNAVAILABLE', 'the node is closing'));
    this.#wake();
    await this.#running;
  }

  async #run(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      this.#asked = false;
      try {
        const held = await this.#claims.next((id) => (this.#failed.get(id)?.due ?? 0) <= this.#clock.monotonic());
        if (held !== undefined) {
          await this.#do(held);
          continue;
        }
      } catch (error) {
        this.#logger.warn(
          { err: toMillraceError(error), job: this.#job.name },
          'cannot look for uploads; looking again',
        );
      }
      if (!this.#asked) await this.#nap();
    }
  }

  /** Waits until a job is added, a failed one is due, or it is time to look what other nodes do. */
  #nap(): Promise<void> {
    const now = this.#clock.monotonic();
    let left = this.#look;
    for (const [id, { due }] of this.#failed) {
      if (due > now) left = Math.min(left, due - now);
      else if (now - due > FORGET_MS) this.#failed.delete(id);
    }
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, left);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
      if (this.#stop.signal.aborted) this.#wake();
    });
  }

  /** Never rejects. */
  async #do(held: HeldJob<R>): Promise<void> {
    const { name } = this.#job;
    const { id, record } = held;
    const { design } = record;
    const cancel = new AbortController();
    const signal = AbortSignal.any([this.#stop.signal, cancel.signal, held.lost]);
    setMaxListeners(0, signal);
    this.#current = { design, cancel };
    this.#logger.info({ design, job: name }, 'storing an upload');
    try {
      await this.#store(held, signal);
      this.#failed.delete(id);
      this.#outcomes.add(1, { job: name, outcome: 'complete' });
      this.#logger.info({ design, job: name }, 'upload stored in the vault');
    } catch (error) {
      if (held.lost.aborted) this.#logger.info({ design, job: name }, GIVEN_UP);
      else if (this.#stop.signal.aborted) await held.giveBack().catch(() => undefined);
      else if (!signal.aborted) await this.#failedWith(held, toMillraceError(error), signal);
    } finally {
      held.close();
      this.#current = undefined;
    }
  }

  async #store(held: HeldJob<R>, signal: AbortSignal): Promise<void> {
    const { id, record } = held;
    if (record.stored !== true) {
      await this.#job.ingest(record, signal);
      await held.update((current) => ({ ...current, stored: true }));
    }
    await this.#staged.wipe(record.design, signal);
    await this.#job.complete(id, record);
    await held.update(({ claim: _, ...current }) => ({ ...(current as R), ended: 'complete' }));
  }

  async #failedWith(held: HeldJob<R>, error: MillraceError, signal: AbortSignal): Promise<void> {
    const { name } = this.#job;
    const { id, record } = held;
    const { design } = record;
    const failed = this.#failed.get(id) ?? { backoff: new Backoff({ firstMs: 200, mostMs: MAX_DELAY_MS }), due: 0 };
    try {
      if (error.code === 'E_UPLOAD' || !error.retryable) {
        await held.update((current) => current); // another node may have stored it
        this.#logger.warn({ err: error, design, job: name }, 'upload refused');
        this.#outcomes.add(1, { job: name, outcome: 'refused' });
        await this.#job.refuse(id, record, error, signal);
        await held.update(({ claim: _, ...current }) => ({ ...(current as R), ended: 'refused' }));
        this.#failed.delete(id);
        return;
      }
      const delay = Math.round(failed.backoff.next());
      this.#logger.warn({ err: error, design, job: name, retryInMs: delay }, 'upload not stored; retrying');
      failed.due = this.#clock.monotonic() + delay;
      this.#failed.set(id, failed);
      await held.giveBack();
    } catch (cause) {
      if (held.lost.aborted) return this.#logger.info({ design, job: name }, GIVEN_UP);
      // The claim stays. This node goes on with the job when it looks again, or another node takes it over.
      this.#logger.debug({ err: cause, design, job: name }, 'upload neither refused nor given back');
      if (failed.due <= this.#clock.monotonic()) failed.due = this.#clock.monotonic() + MAX_DELAY_MS;
      this.#failed.set(id, failed);
    }
  }
}
