import type { DriverRegistration } from '../registry.ts';
import { grblCapabilities, grblSettings } from './settings.ts';

/** Mills, routers and lasers with Grbl 1.1 or a firmware with its protocol. */
export const grblDriver: DriverRegistration<typeof grblSettings> = {
  kind: 'grbl',
  capabilities: grblCapabilities,
  appliesSafety: 'mill',
  settings: grblSettings,
  // The machine has its own speed.
  settingsFor: () => ({}),
  load: async () => ({ create: (await import('./grbl.ts')).createGrbl }),
};
