import { type Clock, MillraceError } from '@millrace/base';
import { sliceStep } from '@millrace/protocol';

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

  /** Real time in which the empty bucket is full again, ms. */
  get fillMs(): number {
    return (1_000 * this.#depth) / PACE;
  }

  /**
   * Notes that every segment below `acked` was consumed; smaller numbers than before change nothing.
   * @throws {MillraceError} E_ALARM as soon as it is overdrawn, and ever after
   */
  consume(acked: number): void {
    if (acked > this.#seconds.length) throw new MillraceError('E_INPUT', 'more segments acknowledged than there are');
    const now = this.#clock.monotonic();
    // A virtual machine that was moved may find its clock behind: that takes nothing out.
    const passed = Math.max(0, now - this.#last);
    this.#level = Math.min(this.#depth, this.#level + (PACE * passed) / 1_000);
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

/** Motion that the machine has ahead of it when its link breaks, seconds of real time (design 4: at least 30 s). */
const STALL_SECONDS = 30;
/** From the moment when the link is back to the first frame of the next session: the machine moves on meanwhile. */
const RETURN_SECONDS = 6;
const MIN_WINDOW = 4;
const MAX_WINDOW = 64;
/** A window is never most of a design. */
const SHARE = 8;

/**
 * Segments that may be ahead of the last acknowledged one: so many that wherever the machine is, what it has not begun of
 * them lasts for 36 s, also when the next slice of them is just due. Between 4 and 64, and not more than an eighth of a design of over 32 segments.
 *
 * @param tenthsOfMs expected consumption of every segment at factor 1, in units of 0.1 ms (the manifest's unit)
 * @param factor the machine's registered pace
 */
export function windowFor(tenthsOfMs: ArrayLike<number>, factor: number): number {
  const most = Math.max(MIN_WINDOW, Math.min(MAX_WINDOW, Math.ceil(tenthsOfMs.length / SHARE)));
  const ahead = longestRun(tenthsOfMs, (STALL_SECONDS + RETURN_SECONDS) * 10_000 * factor);
  // The segment that is being taken, and those after it.
  let window = Math.max(MIN_WINDOW, 1 + ahead);
  while (window < most && window - sliceStep(window) + 1 < 1 + ahead) window++;
  return Math.min(window, most);
}

/** Most segments that, following on one that takes time, are needed to reach `wanted`; at the end of the design, what is left. */
function longestRun(times: ArrayLike<number>, wanted: number): number {
  let longest: number | undefined;
  let sum = 0;
  // `sum` is of the segments start + 1 to end - 1.
  for (let start = 0, end = 1; start < times.length; start++) {
    for (; end < times.length && sum < wanted; end++) sum += times[end] ?? 0;
    // Comments alone: the machine is past them at once.
    if ((times[start] ?? 0) > 0) longest = Math.max(longest ?? 0, end - start - 1);
    sum -= times[start + 1] ?? 0;
  }
  return longest ?? times.length;
}
