import { z } from 'zod';
import { stopCommands, usualStop } from '../controller/controller-settings.ts';
import { serialSettings } from '../controller/serial-settings.ts';

const command = z
  .string()
  .max(80)
  .regex(/^[GMT][\x20-\x7e]*$/, { error: 'expected a command' });

export const marlinSettings = serialSettings.extend({
  /** What the firmware may have to keep: commands in its queue (BUFSIZE), bytes in its receive buffer. */
  window: z
    .strictObject({
      lines: z.number().int().min(1).max(64).default(4),
      bytes: z.number().int().min(32).max(4_096).default(120),
    })
    .prefault({}),
  stopCommands: stopCommands(command, usualStop),
  /** Interval between questions for temperatures, ms. */
  reportMs: z.number().int().min(20).max(60_000).default(2_000),
  /** Without an `ok` or `busy` for this long, the driver asks where the firmware is; ms. */
  okMs: z.number().int().min(20).max(600_000).default(6_000),
  /** How long damaged lines may still be answered, ms. */
  settleMs: z.number().int().min(1).max(5_000).default(60),
});
export type MarlinSettings = z.output<typeof marlinSettings>;

/** In the order in which `auto` tries them. */
export const marlinBauds = [115_200, 250_000, 230_400, 57_600, 500_000, 1_000_000, 38_400, 19_200, 9_600] as const;
