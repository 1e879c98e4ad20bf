import { z } from 'zod';
import { anyBytes, type Capabilities } from '../contract.ts';
import { paceFactor } from '../pacer.ts';

export const sinkSettings = z.strictObject({
  serial: z.string().min(1).max(64),
  bytesPerSecond: z.number().positive().default(100_000),
  factor: paceFactor.default(1),
  bufferBytes: z
    .number()
    .int()
    .min(1024)
    .max(1 << 26)
    .default(65_536),
  bucketMs: z.number().min(0).max(1000).default(5),
  telemetryMs: z.number().min(0).max(60_000).default(250),
  /** Where to write what it receives; each run begins the file again. */
  file: z.string().min(1).optional(),
});
export type SinkSettings = z.output<typeof sinkSettings>;

export const sinkCapabilities: Capabilities = {
  formats: [anyBytes],
  heaters: [],
  position: false,
  lines: false,
  layers: false,
  filament: false,
};
