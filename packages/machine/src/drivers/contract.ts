import type { Bytes, Clock, Logger, MillraceError } from '@millrace/base';
import type { SecretMemory } from '@millrace/live-matrix';
import type { Heater } from '@millrace/protocol';
import type { ToolPath } from '@millrace/toolpath';

/** What the machine itself says it is. */
export interface MachineIdentity {
  readonly kind: string;
  readonly firmware: string;
  readonly serial: string;
}

/** Among a machine's formats: it takes the bytes of every design, whatever they mean. */
export const anyBytes = 'bytes';

/** What a machine has, and so may tell: a mill has no hot end and no filament. */
export interface Capabilities {
  /** Kinds of designs that it executes, or `anyBytes`. */
  readonly formats: readonly string[];
  readonly heaters: readonly Heater[];
  readonly position: boolean;
  readonly lines: boolean;
  readonly layers: boolean;
  readonly filament: boolean;
}

/** Whether a machine executes designs of this kind. */
export function canMake({ formats }: Pick<Capabilities, 'formats'>, designKind: string): boolean {
  return formats.includes(designKind) || formats.includes(anyBytes);
}

/**
 * disconnected → idle (connect) → running (begin) → idle (drain) …; running ⇄ paused. `failed` after a fault and
 * `stopped` after an emergency stop stay until the machine is connected again; `closed` is the end.
 */
export type DriverState = 'disconnected' | 'idle' | 'running' | 'paused' | 'failed' | 'stopped' | 'closed';

/** What the machine does at this moment. */
export interface Telemetry {
  readonly state: DriverState;
  /** Running, but waiting for content: its buffer is empty. */
  readonly starved: boolean;
  /** mm. */
  readonly position: { readonly x: number; readonly y: number; readonly z: number };
  /** Last line executed, from 1; 0 before the first, and for machines without lines. */
  readonly line: number;
  /** From 1; 0 before the first. */
  readonly layer: number;
  /** °C, of the heaters that the machine has. */
  readonly temperatures: Readonly<Partial<Record<Heater, Heat>>>;
  /** mm/s. */
  readonly feed: number;
  /** Bytes of this run that have been executed; the buffer holds what was accepted beyond them. */
  readonly executedBytes: number;
  readonly bufferedBytes: number;
  /** Filament that the machine has used in all its life, mm. */
  readonly odometer: number;
  /** Seconds of the machine's own time that this run has taken, at the speed of the motion model. */
  readonly machineSeconds: number;
  /** Why the state is `failed`. */
  readonly error?: MillraceError;
}

export interface Heat {
  readonly now: number;
  readonly target: number;
}

/** Facts of one run, for the ledger and as evidence after a failure. */
export interface RunSummary {
  readonly executedBytes: number;
  /**
   * SHA-256 of the bytes that the machine has taken from its buffer, in order: of exactly the executed bytes once
   * drained; while it runs, a queue of moves may lie between.
   */
  readonly sha256: Bytes;
  readonly takenBytes: number;
  readonly lines: number;
  readonly layers: number;
  readonly moves: number;
  readonly unknownCommands: number;
  /** Filament used by this run, mm. */
  readonly filamentMm: number;
  readonly machineSeconds: number;
  /** Real seconds in which it waited for content in mid-run. Each wait may leave a mark on the part. */
  readonly starvedSeconds: number;
  /** Machine seconds by segment, when the driver was told the length of one. */
  readonly times?: readonly number[];
}

/**
 * A machine. Every method may fail with E_MACHINE (no answer, or a fault of the machine), E_STATE (not in a state that
 * allows it); a fault during a run fails the pending and every later `write` and `drain` until it is connected again.
 */
export interface Driver {
  readonly kind: string;
  readonly capabilities: Capabilities;
  /** Opens the machine. @throws {MillraceError} E_MACHINE_UNKNOWN when its serial number is another one. */
  connect(expected: { readonly serial: string }): Promise<MachineIdentity>;
  identify(): Promise<MachineIdentity>;
  /** Begins a run: counts, hash and tool path start from zero. */
  begin(): Promise<void>;
  /**
   * The next bytes of the run, cut anywhere. Resolves when all of them lie in the machine's buffer; the caller may then
   * wipe them. One call at a time.
   * @throws {MillraceError} E_GCODE, E_STATE, E_MACHINE; the signal's reason.
   */
  write(content: Uint8Array, signal?: AbortSignal): Promise<void>;
  /** Ends the run's content; resolves when all of it has been executed. Throws as `write` does. */
  drain(signal?: AbortSignal): Promise<void>;
  pause(): Promise<void>;
  resume(): Promise<void>;
  /** Drops what is buffered and ends the run; the machine is idle. Pending calls fail with E_STATE. */
  cancel(): Promise<void>;
  /** Everything off at once; pending calls fail with E_MACHINE. The machine must be connected again. */
  emergencyStop(): Promise<void>;
  telemetry(): Telemetry;
  /** Called at intervals and on every change of state; the result ends it. */
  onTelemetry(listener: (telemetry: Telemetry) => void): () => void;
  /** Of the current run, or the last. */
  summary(): RunSummary;
  /** The path really travelled in the current run or the last, if the machine can tell. */
  toolPath(): ToolPath | undefined;
  close(): Promise<void>;
}

/** What a driver needs from outside; the system's own unless told. */
export interface DriverModules {
  readonly clock?: Clock;
  readonly sleep?: (milliseconds: number, signal?: AbortSignal) => Promise<void>;
  readonly logger?: Logger;
  /** Where the bytes of the design wait for the machine. */
  readonly secrets?: SecretMemory;
  /** For tests: the bytes that the machine takes, in order; valid during the call. */
  readonly onExecuted?: (bytes: Uint8Array) => void;
}
