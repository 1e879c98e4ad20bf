import { printerCapabilities } from '../controller/controller-settings.ts';
import type { DriverRegistration } from '../registry.ts';
import { marlinSettings } from './settings.ts';

/** Printers with Marlin or another RepRap firmware, over a serial port. */
export const marlinDriver: DriverRegistration<typeof marlinSettings> = {
  kind: 'marlin',
  capabilities: printerCapabilities,
  appliesSafety: 'printer',
  settings: marlinSettings,
  // The machine has its own speed.
  settingsFor: () => ({}),
  load: async () => ({ create: (await import('./marlin.ts')).createMarlin }),
};
