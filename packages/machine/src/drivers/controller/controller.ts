import type { MillraceError } from '@millrace/base';
import type { MachineFrame } from '@millrace/gcode';
import type { Capabilities, MachineIdentity, Pause, Telemetry } from '../contract.ts';

/** What a controller reports on its own. */
export interface ControllerEvents {
  /** The controller has taken the `count` oldest commands that it had not taken before. */
  taken(count: number): void;
  /** There may be room for another command. */
  room(): void;
  /** It skipped a command that it does not know. */
  unknownCommand(): void;
  /** It failed or is gone. It was stopped safely, as far as that was possible. */
  failed(error: MillraceError): void;
  paused(pause: Pause): void;
  resumed(): void;
}

/** What a controller says about itself. */
export interface Readings {
  readonly temperatures: Telemetry['temperatures'];
  /** mm; undefined if it does not report it. */
  readonly position?: Telemetry['position'] | undefined;
}

/**
 * A conversation with one controller, which executes commands one at a time and in order. The protocol of a kind of
 * controller; everything that is common to all of them is in ControllerEngine.
 */
export interface Controller {
  readonly capabilities: Capabilities;
  /** Longest command, bytes. */
  readonly maxCommand: number;
  connect(expected: { readonly serial: string }, events: ControllerEvents): Promise<MachineIdentity>;
  /**
   * Before the first command of a run.
   * @param modes commands that are executed first, if the run is checked against a safety policy
   * @returns where the machine is then, if the controller knows
   */
  begin(modes: readonly string[]): Promise<MachineFrame | undefined>;
  /** As in the contract of drivers. */
  frame?(): Promise<MachineFrame>;
  /** Whether this command fits into what the controller may have outstanding. */
  hasRoom(command: Uint8Array): boolean;
  /** Sends a command, without a line end. It is copied. */
  send(command: Uint8Array): void;
  /** Resolves when everything sent has been executed. @throws the signal's reason */
  finish(signal: AbortSignal): Promise<void>;
  /** Resolves when the machine stands still. */
  pause(): Promise<void>;
  resume(): Promise<void>;
  /** Stops safely and forgets what was sent. */
  cancel(): Promise<void>;
  /** Stops at once, by the shortest way. Never rejects. */
  emergencyStop(): Promise<void>;
  readings(): Readings;
  close(): Promise<void>;
}
