import { type Clock, MillraceError } from '@millrace/base';

/** How much faster than expected a machine may be before it is an alarm (design 4, stream step 8). */
export const PACE = 1.5;
/** Seconds of slack for timers and links. */
const SLACK = 0.25;
/** Segments that fit into the machine's own buffer (64 KiB): after a stall it takes these at once, beside the window. */
const MACHINE_SEGMENTS = 5;

/**
 * Token bucket over expected machine time: acknowledged segments take their expected seconds out, real seconds put
 * `PACE` times as many in, up to the time of one window and the machine's own buffer. It belongs to an object, not to a
 * session: resuming refills nothing.
 */
export class PaceGuard {
  readonly #seconds: Float64Array;
  readonly #depth: number;
  readonly #clock: Clock;
  #level: number;
  #last: number;
  #acked: number;
  #overdrawn = false;

  /**
   * @param tenthsOfMs expected consumption of every segment at factor 1, in units of 0.1 ms (the manifest's unit)
   * @param factor the machine's registered pace
   * @param window segments that may be ahead of the last acknowledged one
   */
  constructor(options: {
    tenthsOfMs: ArrayLike<number>;
    factor: number;
    window: number;
    clock: Clock;
    /** First segment of the stream: what came before was counted by a guard that a restart has taken away. */
    from?: number;
  }) {
    const { tenthsOfMs, factor, window, clock } = options;
    this.#acked = options.from ?? 0;
    this.#seconds = Float64Array.from(tenthsOfMs, (value) => value / 10_000 / factor);
    const reach = window + MACHINE_SEGMENTS;
    let sum = 0;
    let most = 0;
    for (let i = 0; i < this.#seconds.length; i++) {
      sum += (this.#seconds[i] ?? 0) - (i >= reach ? (this.#seconds[i - reach] ?? 0) : 0);
      most = Math.max(most, sum);
    }
    this.#depth = most + SLACK;
    this.#level = this.#depth;
    this.#clock = clock;
    this.#last = clock.monotonic();
  }

  get acked(): number {
    return this.#acked;
  }

  /**
   * Notes that every segment below `acked` was consumed; smaller numbers than before change nothing.
   * @throws {MillraceError} E_ALARM as soon as it is overdrawn, and ever after
   */
  consume(acked: number): void {
    if (acked > this.#seconds.length) throw new MillraceError('E_INPUT', 'more segments acknowledged than there are');
    const now = this.#clock.monotonic();
    this.#level = Math.min(this.#depth, this.#level + (PACE * (now - this.#last)) / 1_000);
    this.#last = now;
    for (; this.#acked < acked; this.#acked++) this.#level -= this.#seconds[this.#acked] ?? 0;
    if (this.#level < 0) this.#overdrawn = true;
    if (this.#overdrawn) {
      throw new MillraceError('E_ALARM', 'segments are consumed faster than the machine can', {
        data: { acked: this.#acked },
      });
    }
  }
}

/** Motion that the agent holds ahead, seconds of machine time (design 4: at least 30 s). */
const BUFFER_SECONDS = 30;

/**
 * Segments that may be ahead of the last acknowledged one: 30 s of real time, between 4 and 64, and not more than an
 * eighth of a design of over 32 segments, so that a window is never most of it.
 */
export function windowFor(tenthsOfMs: ArrayLike<number>, factor: number): number {
  const count = tenthsOfMs.length;
  let total = 0;
  for (let i = 0; i < count; i++) total += tenthsOfMs[i] ?? 0;
  const mean = total / count / 10_000 / factor;
  const wanted = mean > 0 ? Math.ceil(BUFFER_SECONDS / mean) : 64;
  return Math.max(4, Math.min(64, wanted, Math.ceil(count / 8)));
}
