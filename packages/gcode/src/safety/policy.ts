import { z } from 'zod';

const mm = z.number().min(-1e5).max(1e5);
const range = z.tuple([mm, mm]).refine(([least, most]) => least < most, { error: 'expected [least, most]' });
const rate = z.number().positive().max(1e6);
const celsius = z.number().min(0).max(2_000);
const volume = z.strictObject({ x: range, y: range, z: range });
const command = z
  .string()
  .max(64)
  .regex(/^(?:[GM](?:0|[1-9]\d{0,3})(?:\.\d)?|[A-Z_][A-Z0-9_]*)$/, { error: 'expected a code or the name of a macro' });

/**
 * What a design may do on a machine, stated by the machine's owner. What is not stated is not allowed: a heater without
 * a maximum stays cold.
 */
export const safetyPolicySchema = z.strictObject({
  version: z.literal(1),
  /** Where the tool may be, in the coordinates that the machine has after homing, mm. */
  volume,
  /** The tools from T0 on. A tool with another offset may have another volume. */
  tools: z
    .array(z.strictObject({ volume: volume.optional() }))
    .min(1)
    .max(32)
    .default([{}]),
  /** Where each axis is after homing, mm. Without it, the first move of the axis has to be absolute. */
  home: z.strictObject({ x: mm.optional(), y: mm.optional(), z: mm.optional() }).default({}),
  /** Highest speed along each axis, mm a minute. Rapid moves of a mill have the speed that its controller is set to. */
  feed: z.strictObject({ x: rate, y: rate, z: rate, e: rate.optional() }),
  /** Highest temperatures, °C. */
  temperatures: z
    .strictObject({ hotend: celsius.default(0), bed: celsius.default(0), chamber: celsius.default(0) })
    .prefault({}),
  /** Highest speed of the spindle, or power of the laser: the S word. */
  spindle: z.number().min(0).max(1e6).default(0),
  /** Commands allowed beyond the usual ones, or forbidden. */
  commands: z
    .strictObject({ allow: z.array(command).max(256).default([]), forbid: z.array(command).max(256).default([]) })
    .prefault({}),
  /** A mill that cannot home: the position that its controller reports is believed. */
  trustPosition: z.boolean().default(false),
});
export type SafetyPolicy = z.output<typeof safetyPolicySchema>;

/** Controllers read G-code in two ways: firmware of printers, and RS-274 of mills. */
export type Dialect = 'printer' | 'mill';
