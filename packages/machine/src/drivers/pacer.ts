import type { Clock } from '@millrace/base';
import { z } from 'zod';

/** How many times faster than real time; JSON has no Infinity, so a file may say 'unlimited'. */
export const paceFactor = z
  .union([
    z.number().positive(),
    z.literal('unlimited'),
    z.custom<number>((value) => value === Number.POSITIVE_INFINITY),
  ])
  .transform((value) => (value === 'unlimited' ? Number.POSITIVE_INFINITY : value));

export interface PacerOptions {
  /** Machine seconds for each real second; Infinity: as fast as the processor. */
  readonly factor: number;
  /** Real milliseconds by which the machine may be early, or catch up after it was late. */
  readonly bucketMs: number;
  readonly clock: Clock;
  readonly sleep: (milliseconds: number, signal?: AbortSignal) => Promise<void>;
}

/** Milliseconds: how late a pause may be noticed. */
const MAX_SLEEP_MS = 250;

/**
 * Holds a machine to its pace, by really waiting. A token bucket: time that the machine lost is not made up for, beyond
 * the bucket.
 */
export class Pacer {
  readonly #options: PacerOptions;
  #origin: number;
  #heldAt: number | undefined;

  constructor(options: PacerOptions) {
    this.#options = options;
    this.#origin = options.clock.monotonic();
  }

  /** The machine stands still from now on, paused or starved. */
  hold(): void {
    this.#heldAt ??= this.#options.clock.monotonic();
  }

  release(): void {
    if (this.#heldAt === undefined) return;
    this.#origin += this.#options.clock.monotonic() - this.#heldAt;
    this.#heldAt = undefined;
  }

  /**
   * Waits until so many machine seconds may have passed, less the bucket, in short sleeps between which `goOn` is asked.
   * False when it was told to stop before.
   */
  async until(machineSeconds: number, goOn: () => boolean, signal?: AbortSignal): Promise<boolean> {
    const { clock, factor, bucketMs, sleep } = this.#options;
    while (goOn()) {
      const wait = this.#origin + (machineSeconds * 1000) / factor - clock.monotonic();
      if (wait <= bucketMs) {
        if (wait < -bucketMs) this.#origin -= wait + bucketMs;
        return true;
      }
      await sleep(Math.min(wait, MAX_SLEEP_MS), signal);
    }
    return false;
  }
}
