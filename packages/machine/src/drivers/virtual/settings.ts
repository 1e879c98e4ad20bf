import { z } from 'zod';
import type { Capabilities } from '../contract.ts';
import { paceFactor } from '../pacer.ts';

const line = z.number().int().positive();

export const virtualSettings = z.strictObject({
  serial: z.string().min(1).max(64),
  /** Times faster than a real machine; Infinity: as fast as the processor. */
  factor: paceFactor.default(1),
  bufferBytes: z
    .number()
    .int()
    .min(1024)
    .max(1 << 26)
    .default(65_536),
  /** Milliseconds that the machine may be early or make up for. */
  bucketMs: z.number().min(0).max(1000).default(5),
  telemetryMs: z.number().min(0).max(60_000).default(250),
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
