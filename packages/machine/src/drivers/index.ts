export type {
  Capabilities,
  Driver,
  DriverKind,
  DriverModules,
  DriverState,
  Heat,
  MachineIdentity,
  RunSummary,
  Telemetry,
} from './contract.ts';
export { driverKinds } from './contract.ts';
export { createDriver } from './create.ts';
export type { SinkOptions } from './sink.ts';
export type { VirtualOptions } from './virtual.ts';
