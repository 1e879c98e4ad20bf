import { printerCapabilities } from '../controller/controller-settings.ts';
import type { DriverRegistration } from '../registry.ts';
import { moonrakerSettings } from './settings.ts';

/** Printers with Klipper, through the websocket of Moonraker. */
export const moonrakerDriver: DriverRegistration<typeof moonrakerSettings> = {
  kind: 'moonraker',
  capabilities: printerCapabilities,
  appliesSafety: 'printer',
  settings: moonrakerSettings,
  // The machine has its own speed.
  settingsFor: () => ({}),
  load: async () => ({ create: (await import('./moonraker.ts')).createMoonraker }),
};
