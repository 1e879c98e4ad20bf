import { type Closable, type Logger, MillraceError, sleep, systemRandom, toHex, toMillraceError } from '@millrace/base';
import type { RecordStore } from '@millrace/stores';
import { z } from 'zod';
import { Table } from '../node/table.ts';

export interface CheckSettings {
  /** Interval between checks of places and lengths, ms; 0 turns periodic checks off. */
  readonly everyMs: number;
  /** Interval between checks that read every cell, ms; 0 turns them off. */
  readonly deepEveryMs: number;
  /** Delay from the start of the node to the first check, ms. */
  readonly afterStartMs: number;
}

/** Minimum interval between checks that follow a sweep which found damage, ms. */
const SOON_MS = 10_000;

export interface ChecksModules {
  readonly store: RecordStore;
  /** Checks the vault once and reports to control for each of the ids. */
  readonly check: (ids: readonly string[], deep: boolean) => Promise<void>;
  readonly logger: Logger;
}

interface Waiting {
  readonly id: string;
  readonly deep: boolean;
  readonly done: () => void;
}

/**
 * Schedules checks of the vault. Requested checks survive a restart. Periodic checks find damage before a print needs
 * the damaged cells. One check runs at a time; it answers all requests that were made before it began.
 */
export class Checks implements Closable {
  readonly #settings: CheckSettings;
  readonly #modules: ChecksModules;
  readonly #asked: Table<{ deep: boolean }>;
  readonly #stop = new AbortController();
  readonly #running = new Set<Promise<void>>();
  #waiting: Waiting[] = [];
  #working = false;
  #soon: Promise<void> | undefined;

  constructor(settings: CheckSettings, modules: ChecksModules) {
    this.#settings = settings;
    this.#modules = modules;
    this.#asked = new Table(modules.store, 'check', z.strictObject({ deep: z.boolean() }));
  }

  async start(): Promise<void> {
    const { everyMs, deepEveryMs, afterStartMs } = this.#settings;
    for await (const [id, { deep }] of this.#asked.list()) this.#track(this.#answer(id, deep));
    if (everyMs > 0) this.#track(this.#repeat(false, afterStartMs, everyMs));
    if (deepEveryMs > 0) this.#track(this.#repeat(true, deepEveryMs, deepEveryMs));
  }

  /** Requests a check. Resolves when the request is durable. */
  async ask(id: string, deep: boolean): Promise<void> {
    if (await this.#asked.create(id, { deep })) this.#track(this.#answer(id, deep));
  }

  /** Schedules a check after damage was found. */
  soon(): void {
    this.#soon ??= this.#track(
      this.#make(toHex(systemRandom(16)), false)
        .then(() => sleep(SOON_MS, this.#stop.signal))
        .finally(() => {
          this.#soon = undefined;
        }),
    );
  }

  async close(): Promise<void> {
    this.#stop.abort(new MillraceError('E_UNAVAILABLE', 'the node is closing'));
    await Promise.all(this.#running);
  }

  #track(work: Promise<void>): Promise<void> {
    const settled = work.catch((error: unknown) => {
      if (!this.#stop.signal.aborted)
        this.#modules.logger.error({ err: toMillraceError(error) }, 'vault check not completed');
    });
    this.#running.add(settled);
    void settled.then(() => this.#running.delete(settled));
    return settled;
  }

  async #answer(id: string, deep: boolean): Promise<void> {
    await this.#make(id, deep);
    if (!this.#stop.signal.aborted) await this.#asked.remove(id);
  }

  async #repeat(deep: boolean, firstMs: number, everyMs: number): Promise<void> {
    for (let wait = firstMs; ; wait = everyMs) {
      await sleep(wait, this.#stop.signal);
      await this.#make(toHex(systemRandom(16)), deep);
    }
  }

  /** Resolves when a check that began after this call has ended, successfully or not. */
  #make(id: string, deep: boolean): Promise<void> {
    return new Promise((done) => {
      this.#waiting.push({ id, deep, done });
      if (!this.#working) this.#track(this.#work());
    });
  }

  async #work(): Promise<void> {
    this.#working = true;
    for (let all = this.#waiting; all.length > 0; all = this.#waiting) {
      this.#waiting = [];
      const deep = all.some((waiting) => waiting.deep);
      try {
        await this.#modules.check(
          all.map(({ id }) => id),
          deep,
        );
      } catch (error) {
        if (!this.#stop.signal.aborted)
          this.#modules.logger.error({ err: toMillraceError(error), deep }, 'vault check failed');
      }
      for (const { done } of all) done();
    }
    this.#working = false;
  }
}
