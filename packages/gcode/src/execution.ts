import { Interpreter, type MachineTime } from './interpreter.ts';
import { desktopLimits, type MotionLimits } from './limits.ts';
import { MotionPlanner, type MoveListener } from './planner.ts';
import { LineReader } from './reader.ts';

/** When so many bytes follow the last queued move, for example comments, the machine executes its queue. */
const MAX_BYTES_BEHIND = 8192;

/** Told what happened, in the order in which the machine does it. */
export interface ExecutionListener {
  /** Time spent for the line whose last byte lies before offset `lineEnd`; several calls may belong to one line. */
  spent?(lineEnd: number, seconds: number): void;
  /** A straight piece of path: ends at the execution's x, y, z. */
  travelled?(execution: Execution): void;
}

/**
 * G-code executed in model time: bytes in, in chunks cut anywhere; times, positions and counts out. The owner's estimate
 * and the virtual machine are this one class, so that the two agree to the last bit.
 */
export class Execution implements MoveListener, MachineTime {
  readonly reader = new LineReader();
  readonly planner: MotionPlanner;
  readonly interpreter: Interpreter;

  /** Model time of everything executed so far, s. */
  seconds = 0;
  /** Everything before this offset has been executed. */
  executedBytes = 0;
  executedLine = 0;
  /** Where the machine is, mm. */
  x = 0;
  y = 0;
  z = 0;
  /** Layer being made, from 1; 0 before the first extrusion. */
  layer = 0;
  /** The last piece of path put down material. */
  extruding = false;
  /** Speed at which the last piece aimed, mm/s. */
  feed = 0;
  moves = 0;
  /** Filament that has left the spool for good, mm: retractions that come back do not count twice. */
  filament = 0;
  #filamentNow = 0;
  #ended = false;
  readonly #listener: ExecutionListener;

  constructor(listener: ExecutionListener = {}, limits: MotionLimits = desktopLimits) {
    this.#listener = listener;
    this.planner = new MotionPlanner(limits, this);
    this.interpreter = new Interpreter(this.reader, this.planner, limits, this);
  }

  /** Lines seen so far. */
  get lines(): number {
    return this.reader.line - (this.reader.complete && this.reader.lineEnded ? 0 : 1);
  }

  /**
   * Executes at most one command from `bytes[from]` on; returns where it stopped.
   * @throws {MillraceError} E_GCODE; the execution cannot go on after it.
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

  /** The file has ended: its last line counts without a line end, and the machine comes to rest. */
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
    this.interpreter.execute(reader.offset);
    if (planner.count === 0) {
      this.executedBytes = reader.offset;
      this.executedLine = reader.line;
    }
  }

  /** The rule depends on offsets alone, so it does not matter how often it is asked. */
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
    this.#listener.spent?.(lineEnd, seconds);
  }
}
