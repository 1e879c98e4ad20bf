import type { Axes, MotionLimits } from './limits.ts';

/** Number of moves that the planner looks ahead; a power of two. */
export const plannedMoves = 32;
const mask = plannedMoves - 1;
const nothing = 1e-9;

/** Receives every move in order, once no later move can change its time. */
export interface MoveListener {
  /** The end of a move was given, in the planner's `target`. The move may have no length. */
  aimed?(): void;
  /** A move is about to be queued. `direction`: share of each axis; `feed`: mm/s as asked for, before all limits. */
  planned?(direction: Float64Array, feed: number): void;
  /** `slot` is an index into the planner's arrays, valid only during the call. */
  moved(slot: number, seconds: number): void;
}

/**
 * The motion model. Every move accelerates, travels and decelerates at constant acceleration. Where two moves meet, no
 * axis changes its speed at once by more than its jerk. Speeds are planned backwards over the queued moves, so that the
 * machine can always stop at the end of the queue. This is the usual model of desktop firmware, in floating point.
 *
 * A move leaves the queue only if the queue is full or the machine waits (`flush`), never by a clock: the same moves
 * give the same times, however the bytes arrive.
 */
export class MotionPlanner {
  readonly maxFeed: Float64Array;
  readonly maxAcceleration: Float64Array;
  readonly jerk: Float64Array;
  print: number;
  travel: number;
  retract: number;

  /** End of the next move: X, Y, Z, E in mm. Written by the caller before `push`. */
  readonly target = new Float64Array(4);
  /** End of the last queued move. */
  readonly position = new Float64Array(4);
  // One entry per queued move.
  readonly ends = new Float64Array(plannedMoves * 4);
  readonly filament = new Float64Array(plannedMoves);
  readonly lineEnd = new Float64Array(plannedMoves);
  readonly line = new Float64Array(plannedMoves);
  readonly layer = new Uint32Array(plannedMoves);
  readonly extruding = new Uint8Array(plannedMoves);
  /** Target speed of a move, mm/s. */
  readonly speed = new Float64Array(plannedMoves);

  readonly #listener: MoveListener;
  readonly #length = new Float64Array(plannedMoves);
  readonly #acceleration = new Float64Array(plannedMoves);
  readonly #entryMax = new Float64Array(plannedMoves);
  readonly #entry = new Float64Array(plannedMoves);
  readonly #safe = new Float64Array(plannedMoves);
  readonly #before = new Float64Array(4);
  readonly #direction = new Float64Array(4);
  #head = 0;
  #count = 0;

  constructor(limits: MotionLimits, listener: MoveListener) {
    this.#listener = listener;
    this.maxFeed = Float64Array.from(limits.maxFeed satisfies Axes);
    this.maxAcceleration = Float64Array.from(limits.maxAcceleration);
    this.jerk = Float64Array.from(limits.jerk);
    this.print = limits.acceleration.print;
    this.travel = limits.acceleration.travel;
    this.retract = limits.acceleration.retract;
  }

  get count(): number {
    return this.#count;
  }

  /** The slot of the oldest move. */
  get oldest(): number {
    return this.#head;
  }

  /** Queues a straight move to `target` at `feed` mm/s or slower. Returns false for a move of length zero. */
  push(feed: number, lineEnd: number, line: number, layer: number): boolean {
    const { position, target } = this;
    this.#listener.aimed?.();
    const dx = (target[0] as number) - (position[0] as number);
    const dy = (target[1] as number) - (position[1] as number);
    const dz = (target[2] as number) - (position[2] as number);
    const de = (target[3] as number) - (position[3] as number);
    const path = Math.sqrt(dx * dx + dy * dy + dz * dz);
    const alone = path < nothing;
    const length = alone ? Math.abs(de) : path;
    if (length < nothing) return false;

    if (this.#count === plannedMoves) this.#leave();
    const slot = (this.#head + this.#count) & mask;
    const direction = this.#direction;
    direction[0] = dx / length;
    direction[1] = dy / length;
    direction[2] = dz / length;
    direction[3] = de / length;
    this.#listener.planned?.(direction, feed);

    this.#length[slot] = length;
    this.filament[slot] = de;
    this.lineEnd[slot] = lineEnd;
    this.line[slot] = line;
    this.layer[slot] = layer;
    this.extruding[slot] = de > 0 && !alone ? 1 : 0;
    this.ends.set(target, slot * 4);
    position.set(target);
    this.#limit(slot, feed, alone ? this.retract : de > 0 ? this.print : this.travel);
    this.#join(slot);
    this.#before.set(direction);
    this.#count += 1;
    this.#look(slot);
    return true;
  }

  /** The machine comes to rest: all moves leave the queue. */
  flush(): void {
    while (this.#count > 0) this.#leave();
  }

  /** Sets speed, acceleration, and the speed from and to rest, from the limits of each axis. */
  #limit(slot: number, feed: number, along: number): void {
    let speed = feed;
    let acceleration = along;
    for (let axis = 0; axis < 4; axis += 1) {
      const share = Math.abs(this.#direction[axis] as number);
      if (share < nothing) continue;
      speed = Math.min(speed, (this.maxFeed[axis] as number) / share);
      acceleration = Math.min(acceleration, (this.maxAcceleration[axis] as number) / share);
    }
    let safe = speed;
    for (let axis = 0; axis < 4; axis += 1) {
      const share = Math.abs(this.#direction[axis] as number);
      if (share >= nothing) safe = Math.min(safe, (this.jerk[axis] as number) / share);
    }
    this.speed[slot] = speed;
    this.#acceleration[slot] = acceleration;
    this.#safe[slot] = safe;
  }

  /** The speed at which this move may follow the previous one. */
  #join(slot: number): void {
    const safe = this.#safe[slot] as number;
    if (this.#count === 0) {
      this.#entryMax[slot] = safe;
      return;
    }
    const previous = (slot - 1) & mask;
    let speed = Math.min(this.speed[slot] as number, this.speed[previous] as number);
    for (let axis = 0; axis < 4; axis += 1) {
      const change = Math.abs((this.#direction[axis] as number) - (this.#before[axis] as number));
      if (change * speed > (this.jerk[axis] as number)) speed = (this.jerk[axis] as number) / change;
    }
    // Stopping between the two moves is always allowed.
    this.#entryMax[slot] = Math.max(speed, Math.min(safe, this.#safe[previous] as number));
  }

  /** Plans backwards from the newest move until nothing changes. The entry speed of the oldest move is fixed. */
  #look(newest: number): void {
    let exit = this.#safe[newest] as number;
    let slot = newest;
    for (let left = this.#count; left > 0; left -= 1) {
      if (left === 1 && this.#count > 1) return;
      const reach = 2 * (this.#acceleration[slot] as number) * (this.#length[slot] as number);
      const entry = Math.min(this.#entryMax[slot] as number, Math.sqrt(exit * exit + reach));
      if (slot !== newest && entry === this.#entry[slot]) return;
      this.#entry[slot] = entry;
      exit = entry;
      slot = (slot - 1) & mask;
    }
  }

  /** Finalises the oldest move, whose time is now known. */
  #leave(): void {
    const slot = this.#head;
    const entry = this.#entry[slot] as number;
    const acceleration = this.#acceleration[slot] as number;
    const length = this.#length[slot] as number;
    const fastest = Math.sqrt(entry * entry + 2 * acceleration * length);
    let exit = Math.min(this.#safe[slot] as number, fastest);
    if (this.#count > 1) {
      const next = (slot + 1) & mask;
      exit = Math.min(this.#entry[next] as number, fastest);
      this.#entry[next] = exit;
    }
    const seconds = trapezoidSeconds(length, entry, exit, this.speed[slot] as number, acceleration);
    this.#listener.moved(slot, seconds);
    this.#head = (slot + 1) & mask;
    this.#count -= 1;
  }
}

/** Time for `length` mm from `entry` to `exit`, at most at `speed` (mm/s) and `acceleration` (mm/s²). */
export function trapezoidSeconds(
  length: number,
  entry: number,
  exit: number,
  speed: number,
  acceleration: number,
): number {
  const up = (speed * speed - entry * entry) / (2 * acceleration);
  const down = (speed * speed - exit * exit) / (2 * acceleration);
  const cruise = length - up - down;
  if (cruise >= 0) return (speed - entry + speed - exit) / acceleration + cruise / speed;
  const peak = Math.sqrt(Math.max(acceleration * length + (entry * entry + exit * exit) / 2, 0));
  return Math.max((2 * peak - entry - exit) / acceleration, 0);
}
