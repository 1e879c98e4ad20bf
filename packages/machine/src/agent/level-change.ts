import { type Level, sameLevel } from './matrix-level.ts';
import type { AgentParts } from './parts.ts';
import type { PrintProgress } from './progress.ts';

/** Decides whether a session should be replaced by one with a better matrix (docs/adr/0016). */
export class LevelChange {
  readonly #parts: Pick<AgentParts, 'tables' | 'timing' | 'logger'>;
  readonly #progress: PrintProgress;
  readonly #level: Level;
  readonly #signal: AbortSignal;

  /** @param level level of the session */
  constructor(
    parts: Pick<AgentParts, 'tables' | 'timing' | 'logger'>,
    progress: PrintProgress,
    level: Level,
    signal: AbortSignal,
  ) {
    this.#parts = parts;
    this.#progress = progress;
    this.#level = level;
    this.#signal = signal;
  }

  /**
   * Why the session should end now, or undefined to continue. Between two sessions the machine works from its buffer.
   * So do not end the session while the buffer is small, unless it is empty.
   */
  reason(): string | undefined {
    const { tables, timing, logger } = this.#parts;
    const { isComplete, bufferMs } = this.#progress;
    if (isComplete) return undefined;
    const enough = timing.changeMs + 2 * tables.ms(tables.wanted);
    if (bufferMs === undefined || (bufferMs < enough && this.#progress.got > this.#progress.taken)) return undefined;
    void tables
      .review(this.#signal)
      .catch((error) => logger.warn({ err: error }, 'cannot make a table to measure its time'));
    const { order, suite } = tables.wanted;
    return sameLevel(this.#level, tables.wanted) ? undefined : `order ${order}, ${suite}`;
  }
}
