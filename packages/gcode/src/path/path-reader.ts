import { Interpreter } from '../interpreter.ts';
import { desktopLimits, layerStep } from '../limits.ts';
import type { Saved } from '../modes.ts';
import { MotionPlanner, type MoveListener } from '../planner.ts';
import { LineReader } from '../reader.ts';
import { CUT, featureAt, OTHER, TRAVEL } from './features.ts';

const SEMICOLON = 59;
/** Shorter moves are none, mm. */
const nothing = 1e-9;

/** A place between two lines, from which the path can be read without what comes before. */
export interface PathState {
  /** Byte offset. */
  readonly offset: number;
  readonly line: number;
  readonly motion: boolean;
  readonly machine: Saved;
  readonly feature: number;
  readonly cutLayers: number;
  readonly cutZ: number;
  /** End of the last piece, mm. */
  readonly to: Float64Array;
}

/** A planner without a model of time: it only says where moves go. */
class Aims extends MotionPlanner {
  readonly #aimed: () => void;

  constructor(aimed: () => void) {
    const listener: MoveListener = { moved: () => undefined };
    super(desktopLimits, listener);
    this.#aimed = aimed;
  }

  override push(): boolean {
    this.#aimed();
    this.position.set(this.target);
    return true;
  }
}

export interface PathListener {
  /** A straight piece of path, in the reader's fields. */
  moved(path: PathReader): void;
  /** A line has ended, so that the state can be saved. */
  lineEnded?(path: PathReader): void;
}

/**
 * Reads where the tool goes, without a model of time: several times faster than `Execution`. Layers are counted as by
 * `Execution` while material is extruded. With a spindle or laser switched on, every height at which a flat move cuts
 * is one.
 */
export class PathReader {
  /** Start and end of the piece, mm: X, Y, Z. */
  readonly from = new Float64Array(3);
  readonly to = new Float64Array(3);
  /** Index in `pathKinds`. */
  kind = TRAVEL;
  tool = 0;
  /** From 1; 0 before the first piece that deposits or cuts. */
  layer = 0;
  /** Byte offset of the beginning of the current line. */
  lineStart = 0;

  readonly #listener: PathListener;
  readonly #reader = new LineReader();
  readonly #planner: Aims;
  readonly #interpreter: Interpreter;
  #feature = OTHER;
  #cutLayers = 0;
  #cutZ = Number.NEGATIVE_INFINITY;
  #betweenLines = true;

  constructor(listener: PathListener, state?: PathState) {
    this.#listener = listener;
    this.#planner = new Aims(() => this.#aimed());
    this.#interpreter = new Interpreter(this.#reader, this.#planner, desktopLimits, {
      seconds: 0,
      wait: () => undefined,
    });
    if (state === undefined) return;
    this.#reader.resume(state.line, state.offset, state.motion);
    this.#interpreter.restore(state.machine);
    this.#feature = state.feature;
    this.#cutLayers = state.cutLayers;
    this.#cutZ = state.cutZ;
    this.lineStart = state.offset;
    this.layer = state.machine.layers + state.cutLayers;
    this.to.set(state.to);
  }

  /** Number of bytes read. */
  get offset(): number {
    return this.#reader.offset;
  }

  /** The state after a line that has just ended. */
  save(): PathState {
    const { line, offset, motion } = this.#reader;
    return {
      ...{ line: line + 1, offset, motion, machine: this.#interpreter.save() },
      ...{ feature: this.#feature, cutLayers: this.#cutLayers, cutZ: this.#cutZ, to: this.to.slice() },
    };
  }

  /**
   * Reads bytes, split anywhere; comments that announce a feature are seen if they begin and end in the same chunk.
   * @param goesOn asked after each line; reading stops when it is false
   * @throws {MillraceError} E_GCODE with the line number, never with bytes of the design
   */
  push(bytes: Uint8Array, goesOn?: () => boolean): void {
    const reader = this.#reader;
    for (let at = 0; at < bytes.length; ) {
      if (this.#betweenLines && bytes[at] === SEMICOLON) this.#feature = featureAt(bytes, at) ?? this.#feature;
      at = reader.next(bytes, at);
      this.#betweenLines = false;
      if (!reader.complete) continue;
      this.#interpreter.execute(reader.offset);
      if (!reader.lineEnded) continue;
      this.#betweenLines = true;
      this.lineStart = reader.offset;
      this.#listener.lineEnded?.(this);
      if (goesOn?.() === false) return;
    }
  }

  /** Ends the file: its last line may have no line end. */
  finish(): void {
    if (this.#reader.finish()) this.#interpreter.execute(this.#reader.offset);
  }

  #aimed(): void {
    const { position, target } = this.#planner;
    const { to } = this;
    this.layer = this.#interpreter.layers + this.#cutLayers;
    // The machine was homed: it went to its zero by itself.
    if (position[0] !== to[0] || position[1] !== to[1] || position[2] !== to[2]) this.#report(position, TRAVEL);
    const dx = (target[0] as number) - (to[0] as number);
    const dy = (target[1] as number) - (to[1] as number);
    const dz = (target[2] as number) - (to[2] as number);
    if (Math.abs(dx) + Math.abs(dy) + Math.abs(dz) < nothing) return;
    const extrudes = (target[3] as number) > (position[3] as number);
    const cuts = !extrudes && this.#interpreter.spindle && this.#interpreter.motion !== 0;
    if (cuts) this.#countCut(target[2] as number, dz === 0);
    this.#report(target, extrudes ? this.#feature : cuts ? CUT : TRAVEL);
  }

  #report(end: Float64Array, kind: number): void {
    const { from, to } = this;
    from.set(to);
    for (let axis = 0; axis < 3; axis += 1) to[axis] = end[axis] as number;
    this.kind = kind;
    this.tool = this.#interpreter.tool;
    this.#listener.moved(this);
  }

  /** A flat cut at another height begins a layer. */
  #countCut(z: number, level: boolean): void {
    if ((!level && this.#cutLayers > 0) || Math.abs(z - this.#cutZ) <= layerStep) return;
    this.#cutZ = z;
    this.#cutLayers += 1;
    this.layer += 1;
  }
}
