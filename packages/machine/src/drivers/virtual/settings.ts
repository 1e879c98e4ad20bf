import { z } from 'zod';
import { bufferedSettings } from '../buffered-settings.ts';
import type { Capabilities } from '../contract.ts';

const line = z.number().int().positive();

export const virtualSettings = bufferedSettings.extend({
  /** Bytes of a segment, for the times by segment; those of a sealed segment unless set. */
  segmentBytes: z.number().int().positive().optional(),
  /** Moves of the tool path that are kept; later ones are counted only. */
  maxMoves: z.number().int().min(0).max(100_000_000).default(4_000_000),
  /** Filament used before, mm. */
  odometer: z.number().nonnegative().default(0),
  /** Faults that happen once, when the machine comes to the line. */
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
