import { join } from 'node:path';
import {
  availableMemory,
  type Clock,
  type Logger,
  MillraceError,
  type RandomSource,
  wipe,
  writeDurably,
} from '@millrace/base';
import {
  type createReceiver,
  type Receiver,
  type ReceiverOptions,
  SEED_BYTES,
  SESSION_ID_BYTES,
  TableMemory,
} from '@millrace/live-matrix';
import { z } from 'zod';
import type { MachineConfig, MatrixSettings } from './config.ts';
import { readIfThere } from './files.ts';
import { Adaptation, type Level, levelsOf, sameLevel } from './matrix-level.ts';

/** How long to wait for a session's first table if a lighter level exists, in units of `slowTableMs`. */
const PATIENCE = 4;

/** Milliseconds per table, by the settings of the table. */
const measuredSchema = z.record(z.string(), z.number().int().nonnegative());

/**
 * Creates this machine's receivers, chooses the level of their matrix, and measures how long a table takes here. The
 * cloud chooses a revision's length by that time.
 */
export interface Tables {
  /** Level that the next session should ask for. */
  readonly wanted: Level;
  /** Milliseconds taken by the latest table of a level; 0 before the first. */
  ms(level: Level): number;
  /** Records the time that a table of a session took. */
  took(level: Level, tableMs: number): void;
  /** A table has been under construction for `ms` and is not ready. */
  unfinished(level: Level, ms: number): void;
  /** @throws {MillraceError} E_TIMEOUT if the first table takes far too long; a lighter level is then wanted */
  open(level: Level, sessionId: Uint8Array, seed: Uint8Array, signal: AbortSignal): Promise<Receiver>;
  /** Before a print: measures tables until the first level is known. Times are kept on disk. */
  measure(signal: AbortSignal): Promise<void>;
  /** During a print: measures a table of the stronger level when a trial is due. */
  review(signal: AbortSignal): Promise<void>;
}

export interface TableModules {
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly logger: Logger;
  readonly receiver: typeof createReceiver;
  readonly freeBytes?: () => number;
}

export function createTables(config: MachineConfig, modules: TableModules): Tables {
  return new MeasuredTables(config, modules);
}

class MeasuredTables implements Tables {
  readonly #settings: MatrixSettings;
  readonly #modules: TableModules;
  readonly #path: string;
  readonly #memory = new TableMemory();
  readonly #adaptation: Adaptation;
  readonly #full: Level;
  /** Latest times by level, keyed by `keyOf`. */
  #latest: Record<string, number> | undefined;
  #reviewing = false;
  #dirty = false;

  constructor(config: MachineConfig, modules: TableModules) {
    const { clock, freeBytes = availableMemory } = modules;
    this.#settings = config.agent;
    this.#modules = modules;
    this.#path = join(config.data, 'table.json');
    const levels = levelsOf(config.agent);
    this.#full = levels[0];
    this.#adaptation = new Adaptation({ levels, slowMs: config.agent.slowTableMs, clock, freeBytes });
  }

  get wanted(): Level {
    return this.#adaptation.wanted;
  }

  ms(level: Level): number {
    return this.#latest?.[this.#keyOf(level)] ?? 0;
  }

  took(level: Level, tableMs: number): void {
    const before = this.wanted;
    this.#latest = { ...this.#latest, [this.#keyOf(level)]: Math.max(1, Math.round(tableMs)) };
    this.#adaptation.took(level, tableMs);
    this.#tell(before, tableMs);
  }

  unfinished(level: Level, ms: number): void {
    const before = this.wanted;
    this.#adaptation.unfinished(level, ms);
    this.#tell(before, ms);
  }

  async open(level: Level, sessionId: Uint8Array, seed: Uint8Array, signal: AbortSignal): Promise<Receiver> {
    const limit = PATIENCE * this.#settings.slowTableMs;
    const late = this.#deadline(level, limit);
    try {
      return await this.#make(level, sessionId, seed, AbortSignal.any([signal, late.signal]));
    } catch (error) {
      signal.throwIfAborted();
      if (!late.signal.aborted) throw error;
      this.took(level, limit);
      throw new MillraceError('E_TIMEOUT', 'the first table of the session takes too long', { cause: error });
    } finally {
      late.clear();
    }
  }

  async measure(signal: AbortSignal): Promise<void> {
    await this.#read();
    await this.review(signal);
    // Measure more than once: another program may have slowed down one table.
    for (let known = this.ms(this.wanted), tries = 0; known === 0 && tries < 3; tries++) {
      const level = this.wanted;
      await this.#try(level, 2 * this.#settings.slowTableMs, signal);
      known = sameLevel(level, this.wanted) && this.#isFast(level) ? this.ms(level) : 0;
    }
    await this.#write();
  }

  async review(signal: AbortSignal): Promise<void> {
    if (this.#reviewing || sameLevel(this.wanted, this.#full) || !this.#adaptation.trialDue) return;
    this.#reviewing = true;
    try {
      await this.#try(this.#full, this.#settings.slowTableMs, signal);
      await this.#write();
    } finally {
      this.#reviewing = false;
    }
  }

  /** Measures one table and discards it. A table that is not ready after `limit` ms counts as taking that long. */
  async #try(level: Level, limit: number, signal: AbortSignal): Promise<void> {
    const { clock, random } = this.#modules;
    const late = this.#deadline(level, limit);
    const seed = random(SEED_BYTES);
    const began = clock.monotonic();
    try {
      const both = AbortSignal.any([signal, late.signal]);
      const receiver = await this.#make(level, random(SESSION_ID_BYTES), seed, both);
      const took = clock.monotonic() - began;
      await receiver.close();
      this.took(level, took);
      this.#dirty = true;
    } catch (error) {
      signal.throwIfAborted();
      if (!late.signal.aborted) throw error;
      this.took(level, Math.max(limit, clock.monotonic() - began) + 1);
      this.#dirty = true;
    } finally {
      late.clear();
      wipe(seed);
    }
  }

  /** Aborts after `limit` ms unless cleared. Clear it when the receiver is ready or closes. */
  #deadline(level: Level, limit: number): { signal: AbortSignal; clear(): void } {
    const late = new AbortController();
    const timer = this.#adaptation.canFall(level) ? setTimeout(() => late.abort(), limit) : undefined;
    return { signal: late.signal, clear: () => clearTimeout(timer) };
  }

  #make(level: Level, sessionId: Uint8Array, seed: Uint8Array, signal: AbortSignal) {
    const { hints, threads, engine } = this.#settings;
    const options: ReceiverOptions = {
      parameters: { ...level, hints },
      sessionId,
      seed,
      signal,
      memory: this.#memory,
      ...(threads === undefined ? {} : { threads }),
      ...(engine === undefined ? {} : { engine }),
    };
    return this.#modules.receiver(options);
  }

  #isFast(level: Level): boolean {
    return !this.#adaptation.canFall(level) || this.ms(level) <= this.#settings.slowTableMs;
  }

  #tell(before: Level, tableMs: number): void {
    if (sameLevel(before, this.wanted)) return;
    this.#modules.logger.info(
      { from: before, to: this.wanted, tableMs: Math.round(tableMs) },
      'matrix level changed for the next session',
    );
  }

  #keyOf({ order, suite }: Level): string {
    const { hints, threads, engine } = this.#settings;
    return [order, suite, hints, threads ?? 'auto', engine ?? 'auto'].join(' ');
  }

  async #read(): Promise<void> {
    if (this.#latest !== undefined) return;
    const bytes = await readIfThere(this.#path);
    try {
      const known = bytes === undefined ? {} : measuredSchema.parse(JSON.parse(new TextDecoder().decode(bytes)));
      this.#latest = known;
    } catch {
      this.#latest = {}; // measure again
    }
    const full = this.ms(this.#full);
    // Do not start with a level that was far too slow at the last start. It is tried again later.
    this.#adaptation.unfinished(this.#full, full);
  }

  async #write(): Promise<void> {
    if (!this.#dirty) return;
    this.#dirty = false;
    await writeDurably(this.#path, `${JSON.stringify(this.#latest ?? {})}\n`);
  }
}
