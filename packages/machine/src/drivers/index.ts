export { builtInDrivers } from './built-in.ts';
export type {
  Capabilities,
  Driver,
  DriverModules,
  DriverState,
  Heat,
  MachineIdentity,
  Pause,
  RunSummary,
  Telemetry,
} from './contract.ts';
export { anyBytes, canMake } from './contract.ts';
export { loadDriverModule } from './driver-module.ts';
export { type DriverCode, type DriverRegistration, DriverRegistry } from './registry.ts';
export type { SinkSettings } from './sink/settings.ts';
export type { VirtualSettings } from './virtual/settings.ts';
