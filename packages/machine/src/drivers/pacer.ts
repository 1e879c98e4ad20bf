import type { Clock } from '@millrace/base';
import { z } from 'zod';

/** Speed relative to real time. JSON has no Infinity, so a file may say 'unlimited'. */
export const paceFactor = z
  .union([
    z.number().positive(),
    z.literal('unlimited'),
    z.custom<number>((value) => value === Number.POSITIVE_INFINITY),
  ])
  .transform((value) => (value === 'unlimited' ? Number.POSITIVE_INFINITY : value));

export interface PacerOptions {
  /** Machine seconds per real second; Infinity: as fast as the processor. */
  readonly factor: number;
  /** Real milliseconds by which the machine may be early, or catch up after a delay. */
  readonly bucketMs: number;
  readonly clock: Clock;
  readonly sleep: (milliseconds: number, signal?: AbortSignal) => Promise<void>;
}

/** Maximum delay before a pause is noticed, ms. */
const MAX_SLEEP_MS = 250;

/** Holds a machine to its pace by waiting in real time. A token bucket: lost time beyond the bucket is not made up. */
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
   * Waits until this many machine seconds may have passed, less the bucket, in short sleeps. Calls `goOn` between
   * sleeps.
   * @returns false if `goOn` returned false before that
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
