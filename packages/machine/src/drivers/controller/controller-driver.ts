import type { Dialect } from '@millrace/gcode';
import { BufferedDriver } from '../buffered.ts';
import type { Driver, DriverModules } from '../contract.ts';
import type { Controller } from './controller.ts';
import { ControllerEngine } from './controller-engine.ts';

export interface ControllerDriverOptions {
  readonly kind: string;
  readonly dialect: Dialect;
  /** Reason why a command must not be sent, or undefined. */
  readonly refuse: (command: Uint8Array) => string | undefined;
  readonly settings: { readonly bufferBytes: number; readonly telemetryMs: number; readonly maxMoves: number };
}

/** The driver of a machine with a controller. */
export function createControllerDriver(
  { kind, dialect, refuse, settings }: ControllerDriverOptions,
  controller: Controller,
  modules: DriverModules,
): Driver {
  const { bufferBytes, telemetryMs, maxMoves } = settings;
  const engine = new ControllerEngine({ dialect, maxMoves, refuse }, controller, modules);
  return new BufferedDriver({ kind, bufferBytes, telemetryMs }, engine, modules);
}
