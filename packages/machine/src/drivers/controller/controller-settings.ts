import { z } from 'zod';
import { bufferedSettings } from '../buffered-settings.ts';
import type { Capabilities } from '../contract.ts';

/** A duration, ms. */
export const milliseconds = z.number().int().min(1).max(3_600_000);

/** Settings shared by the drivers of real controllers. The machine has to report the registered `serial`. */
export const controllerSettings = bufferedSettings.pick({ serial: true, bufferBytes: true }).extend({
  /**
   * The machine has no serial number that can be read, so the registered one is taken without a check. A machine that
   * was exchanged is then not noticed.
   */
  trustSerial: z.boolean().default(false),
  telemetryMs: milliseconds.default(250),
  /** Maximum moves kept in the tool path. Later ones are only counted. */
  maxMoves: z.number().int().min(0).max(100_000_000).default(4_000_000),
  /** A controller that sends nothing at all for this long is gone. */
  silenceMs: milliseconds.default(300_000),
  /** Time for the safe stop after a cancelled run; then the machine is stopped like in an emergency. */
  cancelMs: milliseconds.default(60_000),
});

/** Commands of a safe stop, sent after a cancelled run. */
export const stopCommands = (command: z.ZodString, usual: readonly string[]) =>
  z
    .array(command)
    .max(32)
    .default([...usual]);

/** Of firmware with Marlin's commands: heaters and fan off, then the nozzle goes up. */
export const usualStop = ['M104 S0', 'M140 S0', 'M107', 'G91', 'G1 Z5 F300', 'G90'] as const;

/** Most that a printer can do. */
export const printerCapabilities: Capabilities = {
  formats: ['gcode'],
  heaters: ['hotend', 'bed', 'chamber'],
  position: true,
  lines: true,
  layers: true,
  filament: true,
};
