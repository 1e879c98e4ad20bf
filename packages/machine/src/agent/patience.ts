import type { AgentParts } from './parts.ts';
import type { PrintProgress } from './progress.ts';

/**
 * How long a print still waits for segments. Waiting begins when the machine has taken all that it received: nothing is
 * late while it works from its buffer, or stands still.
 */
export class Patience {
  readonly #parts: Pick<AgentParts, 'clock' | 'config' | 'operator'>;
  readonly #progress: PrintProgress;
  /** Monotonic ms. */
  #since: number;

  constructor(parts: Pick<AgentParts, 'clock' | 'config' | 'operator'>, progress: PrintProgress) {
    this.#parts = parts;
    this.#progress = progress;
    this.#since = parts.clock.monotonic();
  }

  /** Milliseconds; the print fails when none are left. */
  get leftMs(): number {
    const { clock, config, operator } = this.#parts;
    const { got, taken, takenAt } = this.#progress;
    if (operator.isHalted || got > taken) this.renew();
    else if (takenAt !== undefined) this.#since = Math.max(this.#since, takenAt);
    return config.agent.giveUpMs - (clock.monotonic() - this.#since);
  }

  /** The cloud has delivered, or nothing was asked of it. */
  renew(): void {
    this.#since = this.#parts.clock.monotonic();
  }
}
