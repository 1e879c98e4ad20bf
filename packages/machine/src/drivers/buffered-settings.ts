import { z } from 'zod';
import { paceFactor } from './pacer.ts';

/** Settings shared by all drivers with a buffer and a pace. */
export const bufferedSettings = z.strictObject({
  serial: z.string().min(1).max(64),
  /** Speed relative to a real machine; Infinity: as fast as the processor. */
  factor: paceFactor.default(1),
  bufferBytes: z
    .number()
    .int()
    .min(1024)
    .max(1 << 26)
    .default(65_536),
  /** Milliseconds by which the machine may be early, or catch up. */
  bucketMs: z.number().min(0).max(1000).default(5),
  telemetryMs: z.number().min(0).max(60_000).default(250),
});
