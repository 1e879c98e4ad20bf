import type { DriverRegistration } from '../registry.ts';
import { sinkCapabilities, sinkSettings } from './settings.ts';

/** Accepts any bytes at a rate: for data that no machine executes, and for tests. */
export const sinkDriver: DriverRegistration<typeof sinkSettings> = {
  kind: 'sink',
  capabilities: sinkCapabilities,
  settings: sinkSettings,
  settingsFor: ({ factor, bytesPerSecond }) => (bytesPerSecond === undefined ? { factor } : { factor, bytesPerSecond }),
  load: async () => ({ create: (await import('./sink.ts')).createSink }),
};
