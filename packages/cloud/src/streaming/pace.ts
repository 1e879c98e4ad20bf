import { type Clock, MillraceError } from '@millrace/base';
import { sliceStep } from '@millrace/protocol';

/** A machine that is faster than expected by more than this factor raises an alarm (design 4, stream step 8). */
export const PACE = 1.5;
/** Seconds of slack for timers and links. */
const SLACK = 0.25;
/**
 * Segments in the machine's own buffer (64 KiB). After a stall the machine takes these at once, in addition to the
 * window.
 */
const MACHINE_SEGMENTS = 5;

/**
 * Token bucket over expected machine time. Each acknowledged segment removes its expected duration. Real time refills
 * the bucket at `PACE` times its rate, up to the duration of one window and the machine's own buffer. The bucket
 * belongs to an object, not to a session, so resuming does not refill it.
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
    /** First segment of the stream. Segments before it were counted by a guard that was lost at a restart. */
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

  /** Real time in which an empty bucket becomes full, ms. */
  get fillMs(): number {
    return (1_000 * this.#depth) / PACE;
  }

  /**
   * Records that every segment below `acked` was consumed. A smaller number than before changes nothing.
   * @throws {MillraceError} E_ALARM when the bucket is overdrawn, and at every later call
   */
  consume(acked: number): void {
    if (acked > this.#seconds.length)
      throw new MillraceError('E_INPUT', 'more segments were acknowledged than the design has');
    const now = this.#clock.monotonic();
    // The monotonic clock of a migrated virtual machine may go back. Ignore that.
    const passed = Math.max(0, now - this.#last);
    this.#level = Math.min(this.#depth, this.#level + (PACE * passed) / 1_000);
    this.#last = now;
    for (; this.#acked < acked; this.#acked++) this.#level -= this.#seconds[this.#acked] ?? 0;
    if (this.#level < 0) this.#overdrawn = true;
    if (this.#overdrawn) {
      throw new MillraceError('E_ALARM', 'segments are consumed faster than the machine can execute them', {
        data: { acked: this.#acked },
      });
    }
  }
}

/** Motion that the machine can still execute when its link breaks, seconds of real time (design 4: at least 30 s). */
const STALL_SECONDS = 30;
/** Time from the link's return to the first frame of the next session, seconds; the machine keeps moving meanwhile. */
const RETURN_SECONDS = 6;
const MIN_WINDOW = 4;
const MAX_WINDOW = 64;
/** A window is at most this fraction of a long design. */
const SHARE = 8;

/**
 * Number of segments that may be ahead of the last acknowledged one. At every point of the design, the segments that
 * the machine holds but has not started last for at least 36 s, even just before the next slice is sent. Between 4 and
 * 64, and at most an eighth of a design of more than 32 segments.
 *
 * @param tenthsOfMs expected consumption of every segment at factor 1, in units of 0.1 ms (the manifest's unit)
 * @param factor the machine's registered pace
 */
export function windowFor(tenthsOfMs: ArrayLike<number>, factor: number): number {
  const most = Math.max(MIN_WINDOW, Math.min(MAX_WINDOW, Math.ceil(tenthsOfMs.length / SHARE)));
  const ahead = longestRun(tenthsOfMs, (STALL_SECONDS + RETURN_SECONDS) * 10_000 * factor);
  // The segment in progress and those after it.
  let window = Math.max(MIN_WINDOW, 1 + ahead);
  while (window < most && window - sliceStep(window) + 1 < 1 + ahead) window++;
  return Math.min(window, most);
}

/**
 * Largest number of segments, after one that takes time, whose durations add up to `wanted`; fewer at the end of the
 * design.
 */
function longestRun(times: ArrayLike<number>, wanted: number): number {
  let longest: number | undefined;
  let sum = 0;
  // `sum` is the total of the segments start + 1 to end - 1.
  for (let start = 0, end = 1; start < times.length; start++) {
    for (; end < times.length && sum < wanted; end++) sum += times[end] ?? 0;
    // A segment of comments only takes the machine no time.
    if ((times[start] ?? 0) > 0) longest = Math.max(longest ?? 0, end - start - 1);
    sum -= times[start + 1] ?? 0;
  }
  return longest ?? times.length;
}
