import type { Bytes, Clock, Logger, MillraceError } from '@millrace/base';
import type { MachineFrame, SafetyPolicy } from '@millrace/gcode';
import type { SecretMemory } from '@millrace/live-matrix';
import type { Heater } from '@millrace/protocol';
import type { ToolPath } from '@millrace/toolpath';

/** The machine's identity as reported by the machine. */
export interface MachineIdentity {
  readonly kind: string;
  readonly firmware: string;
  readonly serial: string;
}

/** Format of a machine that accepts the bytes of every design. */
export const anyBytes = 'bytes';

/** Features of a machine, which determine what it can report: a mill has no hot end and no filament. */
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
 * `stopped` after an emergency stop last until the machine is connected again; `closed` is final.
 */
export type DriverState = 'disconnected' | 'idle' | 'running' | 'paused' | 'failed' | 'stopped' | 'closed';

/** Why a machine stands still in the middle of a run. */
export interface Pause {
  /** Who paused it: the program that calls the driver, by itself or for its operator; the controller; a person there. */
  readonly actor: 'agent' | 'operator' | 'owner' | 'controller' | 'person';
  readonly cause: string;
  /** What has to happen before the run continues. */
  readonly nextStep: string;
}

/** Current state of the machine. */
export interface Telemetry {
  readonly state: DriverState;
  /** Set in the state `paused`. */
  readonly pause?: Pause;
  /** Running, but waiting for content because its buffer is empty. */
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
  /** Bytes of this run executed so far. Accepted bytes beyond them are in the buffer. */
  readonly executedBytes: number;
  readonly bufferedBytes: number;
  /** Filament used over the machine's lifetime, mm. */
  readonly odometer: number;
  /** Machine time of this run, seconds, at the speed of the motion model. */
  readonly machineSeconds: number;
  /** The part of it with the spindle or the laser on, of machines that execute such programs. */
  readonly spindleSeconds?: number;
  /** Cause of the state `failed`. */
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
   * SHA-256 of the bytes that the machine has taken from its buffer, in order. After draining these are exactly the
   * executed bytes; during the run a queue of moves may lie between.
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
  /**
   * Real seconds during which it waited for content in the middle of the run. Each wait may leave a mark on the part.
   */
  readonly starvedSeconds: number;
  /** Machine seconds by segment, if the length of a segment is configured. */
  readonly times?: readonly number[];
}

/**
 * A machine. Every method may fail with E_MACHINE (no answer, or a fault of the machine) or E_STATE (not allowed in the
 * current state). After a fault during a run, the pending and all later calls of `write` and `drain` fail until the
 * machine is connected again.
 */
export interface Driver {
  readonly kind: string;
  readonly capabilities: Capabilities;
  /** Opens the machine. @throws {MillraceError} E_MACHINE_UNKNOWN if it reports another serial number */
  connect(expected: { readonly serial: string }): Promise<MachineIdentity>;
  identify(): Promise<MachineIdentity>;
  /**
   * Where a mill stands, and its work offsets. Nothing moves. Machines that a design homes have no such method.
   * @throws {MillraceError} E_STATE in a run, or if it has to be homed first; E_MACHINE
   */
  frame?(): Promise<MachineFrame>;
  /** Begins a run: resets counts, hash and tool path. */
  begin(): Promise<void>;
  /**
   * Writes the next bytes of the run, split anywhere. Resolves when all of them are in the machine's buffer; the caller
   * may then wipe them. One call at a time.
   * @throws {MillraceError} E_GCODE, E_SAFETY, E_STATE, E_MACHINE; the signal's reason
   */
  write(content: Uint8Array, signal?: AbortSignal): Promise<void>;
  /** Ends the run's content. Resolves when all of it has been executed. Throws like `write`. */
  drain(signal?: AbortSignal): Promise<void>;
  /**
   * Sends nothing more. Resolves when the machine stands still; heaters stay on. A controller or a person at the machine
   * may pause it as well: `telemetry().pause` says who did, and why. Another reason replaces the one that there is,
   * so that only `resume` ends it.
   */
  pause(reason?: Pause): Promise<void>;
  resume(): Promise<void>;
  /**
   * Drops the buffer, stops safely (heaters, spindle and coolant off) and ends the run; the machine is then idle. Pending
   * calls fail with E_STATE.
   */
  cancel(): Promise<void>;
  /** Switches everything off immediately. Pending calls fail with E_MACHINE. The machine must be connected again. */
  emergencyStop(): Promise<void>;
  telemetry(): Telemetry;
  /** Calls `listener` at intervals and on every change of state. @returns a function that unsubscribes */
  onTelemetry(listener: (telemetry: Telemetry) => void): () => void;
  /** Summary of the current or last run. */
  summary(): RunSummary;
  /** The path actually travelled in the current or last run, if the machine can report it. */
  toolPath(): ToolPath | undefined;
  close(): Promise<void>;
}

/** Dependencies of a driver. Defaults come from the system. */
export interface DriverModules {
  readonly clock?: Clock;
  readonly sleep?: (milliseconds: number, signal?: AbortSignal) => Promise<void>;
  readonly logger?: Logger;
  /** Memory for the design's bytes while they wait for the machine. */
  readonly secrets?: SecretMemory;
  /** What designs may do on this machine. Default: whatever the machine can do. */
  readonly safety?: SafetyPolicy;
  /** For tests: the bytes that the machine takes, in order; valid only during the call. */
  readonly onExecuted?: (bytes: Uint8Array) => void;
}
