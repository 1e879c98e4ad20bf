import { z } from 'zod';
import type { Capabilities } from '../contract.ts';
import { stopCommands } from '../controller/controller-settings.ts';
import { serialSettings } from '../controller/serial-settings.ts';

const command = z
  .string()
  .max(79)
  .regex(/^[GM][\x20-\x7d]*$/, { error: 'expected a command' });

export const grblSettings = serialSettings.extend({
  /** Interval between status reports, ms. */
  statusMs: z.number().int().min(20).max(10_000).default(200),
  /**
   * In the state of alarm, where the position may be lost, before a run: home ($H), unlock without homing ($X), or
   * refuse the run.
   */
  onAlarm: z.enum(['home', 'unlock', 'refuse']).default('home'),
  /** Sent only if the machine is not in alarm. Spindle and coolant are already off. */
  stopCommands: stopCommands(command, []),
});
export type GrblSettings = z.output<typeof grblSettings>;

/** In the order in which `auto` tries them. */
export const grblBauds = [115_200, 57_600, 230_400, 38_400, 9_600] as const;

/** A mill: no hot end, no filament. */
export const grblCapabilities: Capabilities = {
  formats: ['gcode'],
  heaters: [],
  position: true,
  lines: true,
  layers: false,
  filament: false,
};
