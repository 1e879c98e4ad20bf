import { Interpreter, type MachineTime } from './interpreter.ts';
import { desktopLimits, type MotionLimits } from './limits.ts';
import { MotionPlanner, type MoveListener } from './planner.ts';
import { LineReader } from './reader.ts';

/** The machine executes its queue once this many bytes, for example comments, follow the last queued move. */
const MAX_BYTES_BEHIND = 8192;

/** Receives events in the order in which the machine executes. */
export interface ExecutionListener {
  /** A command was read and is about to be executed. What it throws ends the execution. */
  command?(execution: Execution): void;
  /** The end of a move was given, in the planner's `target`. */
  aimed?(execution: Execution): void;
  /** A move is about to be queued: see MoveListener. */
  planned?(direction: Float64Array, feed: number): void;
  /** Time spent on the line whose last byte is before offset `lineEnd`. One line may cause several calls. */
  spent?(lineEnd: number, seconds: number): void;
  /** A straight piece of path that ends at the execution's x, y, z. */
  travelled?(execution: Execution): void;
}

/**
 * Executes G-code in model time: takes bytes in chunks split anywhere, and gives times, positions and counts. The
 * owner's estimate and the virtual machine both use this class, so their results are identical.
 */
export class Execution implements MoveListener, MachineTime {
  readonly reader = new LineReader();
  readonly planner: MotionPlanner;
  readonly interpreter: Interpreter;

  /** Model time of everything executed so far, s. */
  seconds = 0;
  /** The part of it with the spindle or the laser on. */
  spindleSeconds = 0;
  /** Number of bytes executed: everything before this offset. */
  executedBytes = 0;
  executedLine = 0;
  /** Position of the machine, mm. */
  x = 0;
  y = 0;
  z = 0;
  /** Current layer, from 1; 0 before the first extrusion. */
  layer = 0;
  /** Whether the last piece of path deposited material. */
  extruding = false;
  /** Target speed of the last piece, mm/s. */
  feed = 0;
  moves = 0;
  /** Filament used, mm. Filament that is retracted and pushed forward again is not counted twice. */
  filament = 0;
  #filamentNow = 0;
  #ended = false;
  /** Whether the spindle is on, and the lines that switch it behind moves that are still queued. */
  #spindle = false;
  readonly #switches: { readonly at: number; readonly on: boolean }[] = [];
  readonly #listener: ExecutionListener;

  constructor(listener: ExecutionListener = {}, limits: MotionLimits = desktopLimits) {
    this.#listener = listener;
    this.planner = new MotionPlanner(limits, this);
    this.interpreter = new Interpreter(this.reader, this.planner, limits, this);
  }

  /** Number of lines so far. */
  get lines(): number {
    return this.reader.line - (this.reader.complete && this.reader.lineEnded ? 0 : 1);
  }

  /**
   * Executes at most one command from `bytes[from]` on.
   * @returns the offset where it stopped
   * @throws {MillraceError} E_GCODE; the execution cannot continue after it
   */
  step(bytes: Uint8Array, from: number): number {
    const { reader } = this;
    const at = reader.next(bytes, from);
    if (reader.complete) this.#execute();
    else this.#partOfLine();
    return at;
  }

  /** Executes all of `bytes`. */
  push(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) at = this.step(bytes, at);
  }

  /** Ends the file: its last line counts without a line end, and the machine comes to rest. */
  finish(): void {
    if (this.#ended) return;
    this.#ended = true;
    if (this.reader.finish()) this.#execute();
    this.planner.flush();
    this.executedBytes = this.reader.offset;
    this.executedLine = this.lines;
  }

  wait(seconds: number): void {
    this.planner.flush();
    if (seconds > 0) this.#spend(this.reader.offset, seconds);
  }

  aimed(): void {
    this.#listener.aimed?.(this);
  }

  planned(direction: Float64Array, feed: number): void {
    this.#listener.planned?.(direction, feed);
  }

  moved(slot: number, seconds: number): void {
    const { planner } = this;
    const x = planner.ends[slot * 4] as number;
    const y = planner.ends[slot * 4 + 1] as number;
    const z = planner.ends[slot * 4 + 2] as number;
    const change = planner.filament[slot] as number;
    this.x = x;
    this.y = y;
    this.z = z;
    this.layer = planner.layer[slot] as number;
    this.extruding = planner.extruding[slot] === 1;
    this.feed = planner.speed[slot] as number;
    this.moves += 1;
    this.#filamentNow += change;
    if (this.#filamentNow > this.filament) this.filament = this.#filamentNow;
    this.executedBytes = planner.lineEnd[slot] as number;
    this.executedLine = planner.line[slot] as number;
    this.#spend(this.executedBytes, seconds);
    this.#listener.travelled?.(this);
  }

  #execute(): void {
    const { reader, planner } = this;
    this.#catchUp();
    this.#listener.command?.(this);
    const { spindle } = this.interpreter;
    this.interpreter.execute(reader.offset);
    if (this.interpreter.spindle !== spindle) this.#switches.push({ at: reader.offset, on: !spindle });
    if (planner.count === 0) {
      this.executedBytes = reader.offset;
      this.executedLine = reader.line;
    }
  }

  /** Depends only on offsets, so the number of calls does not matter. */
  #catchUp(): void {
    const { reader, planner } = this;
    if (planner.count === 0) return;
    const behind = reader.offset - (planner.lineEnd[planner.oldest] as number);
    if (behind > MAX_BYTES_BEHIND) planner.flush();
  }

  #partOfLine(): void {
    this.#catchUp();
    if (this.planner.count === 0 && this.reader.idle) this.executedBytes = this.reader.offset;
  }

  #spend(lineEnd: number, seconds: number): void {
    this.seconds += seconds;
    for (let next = this.#switches[0]; next !== undefined && next.at <= lineEnd; next = this.#switches[0]) {
      this.#spindle = next.on;
      this.#switches.shift();
    }
    if (this.#spindle) this.spindleSeconds += seconds;
    this.#listener.spent?.(lineEnd, seconds);
  }
}
