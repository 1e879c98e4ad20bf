import { createHash } from 'node:crypto';
import { MillraceError } from '@millrace/base';
import {
  CommandLines,
  desktopLimits,
  Execution,
  type ExecutionListener,
  type MachineFrame,
  type MotionLimits,
  type SafetyGuard,
} from '@millrace/gcode';
import { ToolPath } from '@millrace/toolpath';
import type { EngineSummary } from '../buffered.ts';
import { digestSoFar } from '../digest.ts';

/** The run as it stands after one line. */
export interface Progress {
  readonly bytes: number;
  readonly line: number;
  readonly layer: number;
  readonly position: { readonly x: number; readonly y: number; readonly z: number };
  readonly feed: number;
  readonly filament: number;
  readonly seconds: number;
  /** Seconds with the spindle or the laser on. */
  readonly spindle: number;
}

const nothing: Progress = {
  bytes: 0,
  line: 0,
  layer: 0,
  position: { x: 0, y: 0, z: 0 },
  feed: 0,
  filament: 0,
  seconds: 0,
  spindle: 0,
};

export interface JobOptions {
  readonly maxCommand: number;
  readonly maxMoves: number;
  /** Memory for one command. */
  readonly memory: Uint8Array;
  readonly limits?: MotionLimits;
  /** Refuses a command before it is sent: returns the reason. */
  readonly refuse: (command: Uint8Array) => string | undefined;
  /** Checks every line against the safety policy of the machine's owner. */
  readonly guard: SafetyGuard | undefined;
  readonly onExecuted?: ((bytes: Uint8Array) => void) | undefined;
}

/**
 * One run of a controller: cuts the bytes into commands, checks them with the reader of @millrace/gcode before they are
 * sent, hashes them, and keeps account of what the controller has taken. Where the tool is follows from the same model
 * of motion as the owner's estimate.
 */
export class Job implements ExecutionListener {
  readonly #options: JobOptions;
  readonly #lines: CommandLines;
  readonly #execution: Execution;
  readonly #hash = createHash('sha256');
  readonly #outstanding: Progress[] = [];
  readonly path: ToolPath;
  #taken = 0;
  #done = nothing;
  #ended = false;
  unknownCommands = 0;

  constructor(options: JobOptions) {
    this.#options = options;
    this.#lines = new CommandLines(options.memory);
    this.#lines.clear();
    this.#execution = new Execution(this, options.limits ?? desktopLimits);
    this.path = new ToolPath(options.maxMoves);
  }

  /** Commands that have to be executed before the run. */
  get modes(): readonly string[] {
    return this.#options.guard?.modes ?? [];
  }

  /** @param frame where the machine stands, if it is known. @throws {MillraceError} E_SAFETY */
  begin(frame: MachineFrame | undefined): void {
    this.#options.guard?.begin(this.#execution, frame);
  }

  /** What the controller has taken. */
  get done(): Progress {
    return this.#done;
  }

  /** Number of commands that were given to the controller and not taken yet. */
  get outstanding(): number {
    return this.#outstanding.length;
  }

  /**
   * Reads from `bytes[from]` to the end of one line, or of the bytes.
   * @returns the offset where it stopped, and the command if the line has one; it is valid until the next call
   * @throws {MillraceError} E_GCODE, E_SAFETY
   */
  read(bytes: Uint8Array, from: number): { readonly at: number; readonly command: Uint8Array | undefined } {
    this.#startLine();
    const newline = bytes.indexOf(10, from);
    const at = newline < 0 ? bytes.length : newline + 1;
    const part = bytes.subarray(from, at);
    this.#execution.push(part);
    this.#lines.add(part);
    this.#hash.update(part);
    this.#taken += part.length;
    this.#options.onExecuted?.(part);
    return { at, command: newline < 0 ? undefined : this.#command() };
  }

  /** Ends the file. @returns the last command if it has no line end */
  finish(): Uint8Array | undefined {
    this.#startLine();
    this.#execution.finish();
    return this.#command();
  }

  /** The controller has taken the `count` oldest commands. */
  tookCommands(count: number): void {
    const last = this.#outstanding.splice(0, count).at(-1);
    if (last !== undefined) this.#done = last;
  }

  /** Everything has been executed. */
  tookAll(): void {
    this.#outstanding.length = 0;
    this.#done = this.#progress();
  }

  command(execution: Execution): void {
    this.#options.guard?.command(execution);
  }

  aimed(execution: Execution): void {
    this.#options.guard?.aimed(execution);
  }

  planned(direction: Float64Array, feed: number): void {
    this.#options.guard?.planned(direction, feed);
  }

  travelled(execution: Execution): void {
    this.path.add(execution.x, execution.y, execution.z, execution.extruding, execution.layer);
  }

  wipe(): void {
    this.#lines.clear();
  }

  summary(): EngineSummary {
    const { bytes, line, filament, seconds } = this.#done;
    return {
      executedBytes: bytes,
      sha256: digestSoFar(this.#hash),
      takenBytes: this.#taken,
      lines: line,
      layers: this.#execution.interpreter.layers,
      moves: this.#execution.moves,
      unknownCommands: this.unknownCommands,
      filamentMm: filament,
      machineSeconds: seconds,
    };
  }

  #command(): Uint8Array | undefined {
    const command = this.#lines.end();
    this.#ended = true;
    if (command === undefined || command.length > this.#options.maxCommand)
      throw this.#fault(`more than the ${this.#options.maxCommand} bytes that the controller accepts in one line`);
    const refusal = command.length === 0 ? undefined : this.#options.refuse(command);
    if (refusal !== undefined) throw this.#fault(refusal);
    if (command.length > 0) this.#options.guard?.line(command);
    const progress = this.#progress();
    if (command.length > 0) {
      this.#outstanding.push(progress);
    } else if (this.#outstanding.length > 0) {
      // A comment is executed with the command before it.
      this.#outstanding[this.#outstanding.length - 1] = progress;
    } else {
      this.#done = progress;
    }
    return command.length > 0 ? command : undefined;
  }

  #startLine(): void {
    if (this.#ended) this.#lines.clear();
    this.#ended = false;
  }

  #progress(): Progress {
    const { x, y, z, layer, feed, filament, seconds, spindleSeconds: spindle, lines } = this.#execution;
    return { bytes: this.#taken, line: lines, layer, position: { x, y, z }, feed, filament, seconds, spindle };
  }

  #fault(what: string): MillraceError {
    const line = this.#execution.lines;
    return new MillraceError('E_GCODE', `line ${line}: ${what}`, { data: { line } });
  }
}
