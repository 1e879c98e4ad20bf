import { z } from 'zod';
import { bufferedSettings } from '../buffered-settings.ts';
import { anyBytes, type Capabilities } from '../contract.ts';

export const sinkSettings = bufferedSettings.extend({
  bytesPerSecond: z.number().positive().default(100_000),
  /** Output file. Each run overwrites it from the start. */
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
