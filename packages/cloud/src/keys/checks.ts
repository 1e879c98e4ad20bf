import { type Closable, type Logger, MillraceError, sleep, systemRandom, toHex, toMillraceError } from '@millrace/base';
import type { RecordStore } from '@millrace/stores';
import { z } from 'zod';
import { Table } from '../node/table.ts';

export interface CheckSettings {
  /** From one check of places and lengths to the next, ms; 0: none but those that are asked for. */
  readonly everyMs: number;
  /** From one check that reads every cell to the next, ms; 0: none. */
  readonly deepEveryMs: number;
  /** From the start of the node to the first check, ms. */
  readonly afterStartMs: number;
}

/** A sweep that finds damage is followed by a check, but not more often than this. */
const SOON_MS = 10_000;

export interface ChecksModules {
  readonly store: RecordStore;
  /** Checks the vault once and tells control, for each of the ids. */
  readonly check: (ids: readonly string[], deep: boolean) => Promise<void>;
  readonly logger: Logger;
}

interface Waiting {
  readonly id: string;
  readonly deep: boolean;
  readonly done: () => void;
}

/**
 * Checks of the vault: those that somebody asks for, which a restart only delays, and those that the node makes by itself,
 * so that damage is known before a print needs what is damaged. One runs at a time, and is the answer to all that were
 * asked for before it began.
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

  /** Somebody waits for the result; resolves when it is written down that it has to be made. */
  async ask(id: string, deep: boolean): Promise<void> {
    if (await this.#asked.create(id, { deep })) this.#track(this.#answer(id, deep));
  }

  /** Something was not where it should be. */
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

  /** Resolves when a check that began after this has ended, well or not. */
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
