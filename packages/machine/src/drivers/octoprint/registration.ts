import { printerCapabilities } from '../controller/controller-settings.ts';
import type { DriverRegistration } from '../registry.ts';
import { octoprintSettings } from './settings.ts';

/** Printers behind an OctoPrint server, which only passes commands on. */
export const octoprintDriver: DriverRegistration<typeof octoprintSettings> = {
  kind: 'octoprint',
  capabilities: printerCapabilities,
  appliesSafety: 'printer',
  settings: octoprintSettings,
  // The machine has its own speed.
  settingsFor: () => ({}),
  load: async () => ({ create: (await import('./octoprint.ts')).createOctoprint }),
};
