import { setMaxListeners } from 'node:events';
import { type Logger, MillraceError, sleep, toMillraceError } from '@millrace/base';
import type { HttpClient } from '@millrace/protocol';
import type { Table } from '../node/table.ts';

interface Pending {
  readonly design: string;
  /** From here on the staging copies may be gone: a restart does not look for them again. */
  readonly stored?: boolean | undefined;
}

export interface BringingOptions<T extends Pending> {
  /** What is under way, by id; written down, so that a restarted node goes on. */
  readonly pending: Table<T>;
  readonly distribution: HttpClient;
  readonly logger: Logger;
  /** For the log: "design stored". */
  readonly what: string;
  /** Brings staged segments into the matrix. Done twice it changes nothing. */
  readonly bring: (record: T, signal: AbortSignal) => Promise<void>;
  /** Tells whoever has to know; before it the staging copies are wiped. Done twice it changes nothing. */
  readonly done: (id: string, record: T) => Promise<void>;
  /** It will not be: waiting does not help. */
  readonly refused: (id: string, record: T, error: MillraceError, signal: AbortSignal) => Promise<void>;
}

/** Brings what owners have uploaded into the matrix, one after the other, each tried until it is done, refused or cancelled. */
export class Bringing<T extends Pending> {
  readonly #options: BringingOptions<T>;
  readonly #stop = new AbortController();
  #current: { readonly design: string; readonly cancel: AbortController } | undefined;
  #running: Promise<void> = Promise.resolve();

  constructor(options: BringingOptions<T>) {
    this.#options = options;
    setMaxListeners(0, this.#stop.signal); // one for each segment that is being fetched
  }

  /** Goes on with what a killed process left. */
  async start(): Promise<void> {
    for await (const [id, { design }] of this.#options.pending.list()) this.#queue(id, design);
  }

  async begin(id: string, record: T): Promise<void> {
    if (await this.#options.pending.create(id, record)) this.#queue(id, record.design);
  }

  /** Gives up what there is of the design; nothing of it is stored once this resolves. */
  async cancel(design: string): Promise<void> {
    const { pending } = this.#options;
    for await (const [id, record] of pending.list()) if (record.design === design) await pending.remove(id);
    if (this.#current?.design === design)
      this.#current.cancel.abort(new MillraceError('E_DESIGN_DELETED', 'the owner has deleted the design'));
  }

  async wipe(design: string, signal: AbortSignal = this.#stop.signal): Promise<void> {
    await this.#options.distribution.call('DELETE', `/v1/uploads/${design}`, { signal });
  }

  async close(): Promise<void> {
    this.#stop.abort(new MillraceError('E_UNAVAILABLE', 'the node is closing'));
    await this.#running;
  }

  #queue(id: string, design: string): void {
    this.#running = this.#running.then(() => this.#untilDone(id, design)).catch(() => undefined);
  }

  async #untilDone(id: string, design: string): Promise<void> {
    const { pending, logger, what, bring, done, refused } = this.#options;
    const cancel = new AbortController();
    const signal = AbortSignal.any([this.#stop.signal, cancel.signal]);
    setMaxListeners(0, signal);
    this.#current = { design, cancel };
    for (let delay = 200; !signal.aborted; delay = Math.min(2 * delay, 5_000)) {
      let record: T | undefined;
      try {
        record = await pending.get(id);
        if (record === undefined) return; // given up before its turn came
        if (record.stored !== true) {
          await bring(record, signal);
          await pending.update(id, (current) => ({ ...current, stored: true }));
        }
        await this.wipe(design, signal);
        await done(id, record);
        await pending.remove(id);
        return logger.info({ design }, what);
      } catch (error) {
        if (signal.aborted) return;
        const coded = toMillraceError(error);
        logger.warn({ err: coded, design }, `not yet: ${what}`);
        if (record !== undefined && (coded.code === 'E_UPLOAD' || !coded.retryable)) {
          await refused(id, record, coded, signal);
          return pending.remove(id);
        }
        await sleep(delay, signal);
      }
    }
  }
}
