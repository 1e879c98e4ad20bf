import { z } from 'zod';
import { paceFactor } from './pacer.ts';

/** Settings of every driver with a buffer and a pace. */
export const bufferedSettings = z.strictObject({
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
});
