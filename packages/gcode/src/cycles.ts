/** Words of one line of a canned cycle: machine coordinates in mm if absolute, distances in mm if relative. */
export interface CycleWords {
  readonly x: number | undefined;
  readonly y: number | undefined;
  readonly z: number | undefined;
  readonly r: number | undefined;
  /** Depth of a peck, mm. */
  readonly q: number | undefined;
  /** Dwell at the bottom, s. */
  readonly p: number | undefined;
  readonly repeats: number;
}

/** Where the moves of a cycle go. */
export interface CycleMoves {
  line(x: number, y: number, z: number, rapid: boolean): void;
  dwell(seconds: number): void;
}

/** What a cycle remembers from one line to the next. */
export interface CycleState {
  readonly toInitial: boolean;
  readonly initial: number | undefined;
  readonly r: number | undefined;
  readonly z: number | undefined;
  readonly q: number;
  readonly p: number;
}

/** Why a cycle cannot be executed. */
export type CycleFault =
  | 'no R or Z'
  | 'Z above R'
  | 'no depth of a peck'
  | 'too many holes or pecks'
  | 'G87 is not supported';

const MAX_STEPS = 10_000;
/** A peck ends, or begins again, this far from the bottom of the hole, mm. */
const CLEARANCE = 0.25;

/** G73 and G81 to G89. */
export function isCycle(code: number): boolean {
  return code === 73 || (code >= 81 && code <= 89 && Number.isInteger(code));
}

/**
 * Canned drilling cycles of RS-274/NGC (section 3.5.16) along Z: from the retract plane R to the bottom Z, once at each
 * position. R, Z, Q and P hold until the cycle ends.
 */
export class CannedCycle {
  /** G98: back to where Z was before the cycle; G99: back to R. */
  toInitial = true;
  #initial: number | undefined;
  #r: number | undefined;
  #z: number | undefined;
  #q = 0;
  #p = 0;

  save(): CycleState {
    return { toInitial: this.toInitial, initial: this.#initial, r: this.#r, z: this.#z, q: this.#q, p: this.#p };
  }

  restore({ toInitial, initial, r, z, q, p }: CycleState): void {
    this.toInitial = toInitial;
    [this.#initial, this.#r, this.#z, this.#q, this.#p] = [initial, r, z, q, p];
  }

  /** G80, or another motion. */
  cancel(): void {
    this.#initial = undefined;
    this.#r = undefined;
    this.#z = undefined;
    this.#q = 0;
    this.#p = 0;
  }

  /** Drills. @returns the reason why it cannot; nothing has moved then */
  run(
    code: number,
    words: CycleWords,
    from: readonly [x: number, y: number, z: number],
    relative: boolean,
    moves: CycleMoves,
  ): CycleFault | undefined {
    let [x, y, z] = from;
    this.#initial ??= z;
    if (words.r !== undefined) this.#r = relative ? z + words.r : words.r;
    if (words.z !== undefined) this.#z = relative ? (this.#r ?? z) + words.z : words.z;
    this.#q = words.q ?? this.#q;
    this.#p = words.p ?? this.#p;
    const fault = this.#fault(code, words.repeats);
    const [bottom, plane] = [this.#z, this.#r];
    if (fault !== undefined || bottom === undefined || plane === undefined) return fault ?? 'no R or Z';
    for (let hole = 0; hole < words.repeats; hole += 1) {
      if (z < plane) {
        z = plane;
        moves.line(x, y, z, true);
      }
      x = relative ? x + (words.x ?? 0) : (words.x ?? x);
      y = relative ? y + (words.y ?? 0) : (words.y ?? y);
      moves.line(x, y, z, true);
      moves.line(x, y, plane, true);
      this.#drill(code, x, y, plane, bottom, moves);
      z = this.toInitial ? Math.max(this.#initial, plane) : plane;
      // Tapping and boring come out at the speed at which they went in.
      if (code === 84 || code === 85 || code === 89) moves.line(x, y, plane, false);
      moves.line(x, y, z, true);
    }
    return undefined;
  }

  #drill(code: number, x: number, y: number, plane: number, bottom: number, moves: CycleMoves): void {
    if (code === 73 || code === 83) {
      for (let depth = Math.max(plane - this.#q, bottom); depth > bottom; depth = Math.max(depth - this.#q, bottom)) {
        moves.line(x, y, depth, false);
        if (code === 83) {
          moves.line(x, y, plane, true);
          moves.line(x, y, Math.min(depth + CLEARANCE, plane), true);
        } else {
          moves.line(x, y, Math.min(depth + CLEARANCE, plane), true);
        }
      }
    }
    moves.line(x, y, bottom, false);
    if (code === 82 || code === 86 || code === 88 || code === 89) moves.dwell(this.#p);
  }

  #fault(code: number, repeats: number): CycleFault | undefined {
    if (code === 87) return 'G87 is not supported';
    if (this.#r === undefined || this.#z === undefined) return 'no R or Z';
    if (this.#z > this.#r) return 'Z above R';
    const pecks = code === 73 || code === 83;
    if (pecks && !(this.#q > 0)) return 'no depth of a peck';
    const steps = repeats * (pecks ? (this.#r - this.#z) / this.#q + 1 : 1);
    return steps <= MAX_STEPS ? undefined : 'too many holes or pecks';
  }
}
