import { MillraceError } from '@millrace/base/core';
import { CommandLines } from '../command-lines.ts';
import type { Execution, ExecutionListener } from '../execution.ts';
import { maxLineBytes } from '../reader.ts';
import { SafetyGuard, type SafetyRule } from './guard.ts';
import type { Dialect } from './policy.ts';
import type { JobEnvelope, Reach } from './reach.ts';
import { RecordedLimits } from './recorded-limits.ts';

const NEWLINE = 10;

/**
 * Finds how far a design goes while an execution reads it: by the guard that machines use, with limits that allow
 * everything. Give it each line after the execution has had it, as machines do.
 */
export class ReachRecorder implements ExecutionListener {
  readonly #limits: RecordedLimits;
  readonly #guard: SafetyGuard;
  readonly #lines = new CommandLines(new Uint8Array(maxLineBytes));
  #fault: SafetyRule | undefined;

  constructor(dialect: Dialect, execution: Execution) {
    this.#limits = new RecordedLimits(dialect);
    this.#guard = new SafetyGuard(this.#limits, dialect);
    // Where a mill stands is known in the run only: everything is counted from there.
    const nowhere = [0, 0, 0] as const;
    const frame = {
      position: nowhere,
      origin: nowhere,
      systems: Array.from({ length: 6 }, () => nowhere),
      homes: true,
    };
    this.#guard.begin(execution, dialect === 'mill' ? frame : undefined);
  }

  command(execution: Execution): void {
    if (this.#fault === undefined) this.#try(() => this.#guard.command(execution));
  }

  aimed(execution: Execution): void {
    if (this.#fault === undefined) this.#try(() => this.#guard.aimed(execution));
  }

  planned(direction: Float64Array, feed: number): void {
    if (this.#fault === undefined) this.#guard.planned(direction, feed);
  }

  /** Checks how a line is written. @param bytes of one line, or a part of it */
  push(bytes: Uint8Array): void {
    if (this.#fault !== undefined) return;
    this.#lines.add(bytes);
    if (bytes[bytes.length - 1] === NEWLINE) this.#endLine();
  }

  /** Call this once, after the execution has read the whole design. */
  finish(): Reach | { readonly fault: SafetyRule } {
    this.#endLine();
    return this.#limits.finish(this.#fault);
  }

  #endLine(): void {
    if (this.#fault !== undefined) return;
    const command = this.#lines.end();
    if (command === undefined) this.#fault = 'form';
    else if (command.length > 0) this.#try(() => this.#guard.line(command));
    this.#lines.clear();
  }

  #try(check: () => void): void {
    try {
      check();
    } catch (error) {
      if (!(error instanceof MillraceError && error.code === 'E_SAFETY')) throw error;
      this.#fault = error.data.rule as SafetyRule;
    }
  }
}

/** The envelope of a design, found while an execution reads it. */
export class EnvelopeRecorder implements ExecutionListener {
  readonly #printer: ReachRecorder;
  readonly #mill: ReachRecorder;
  readonly #execution: Execution;

  constructor(execution: Execution) {
    this.#execution = execution;
    this.#printer = new ReachRecorder('printer', execution);
    this.#mill = new ReachRecorder('mill', execution);
  }

  command(execution: Execution): void {
    this.#printer.command(execution);
    this.#mill.command(execution);
  }

  aimed(execution: Execution): void {
    this.#printer.aimed(execution);
    this.#mill.aimed(execution);
  }

  planned(direction: Float64Array, feed: number): void {
    this.#printer.planned(direction, feed);
    this.#mill.planned(direction, feed);
  }

  push(bytes: Uint8Array): void {
    this.#printer.push(bytes);
    this.#mill.push(bytes);
  }

  finish(): JobEnvelope {
    const { filament } = this.#execution;
    return { v: 2, printer: this.#printer.finish(), mill: this.#mill.finish(), filament };
  }
}
