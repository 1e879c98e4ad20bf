import type { DriverRegistration } from '../registry.ts';
import { virtualCapabilities, virtualSettings } from './settings.ts';

/** A simulated desktop printer: executes G-code by the motion model, at any speed. */
export const virtualDriver: DriverRegistration<typeof virtualSettings> = {
  kind: 'virtual',
  capabilities: virtualCapabilities,
  appliesSafety: 'printer',
  settings: virtualSettings,
  settingsFor: ({ factor }) => ({ factor }),
  load: async () => ({ create: (await import('./virtual-machine.ts')).createVirtualMachine }),
};
