import { z } from 'zod';
import { bufferedSettings } from '../buffered-settings.ts';
import type { Capabilities } from '../contract.ts';

const line = z.number().int().positive();

export const virtualSettings = bufferedSettings.extend({
  /** Bytes per segment, for the times by segment. Default: those of a sealed segment. */
  segmentBytes: z.number().int().positive().optional(),
  /** Maximum moves kept in the tool path. Later ones are only counted. */
  maxMoves: z.number().int().min(0).max(100_000_000).default(4_000_000),
  /** Filament used before this run, mm. */
  odometer: z.number().nonnegative().default(0),
  /** Faults that occur once, when the machine reaches the line. */
  faults: z.strictObject({ unpluggedAtLine: line.optional(), thermalAtLine: line.optional() }).default({}),
});
export type VirtualSettings = z.output<typeof virtualSettings>;

export const virtualCapabilities: Capabilities = {
  formats: ['gcode'],
  heaters: ['hotend', 'bed'],
  position: true,
  lines: true,
  layers: true,
  filament: true,
};
