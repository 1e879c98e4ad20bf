// For programs that run agents: one process may run several.
export type { AgentStatus } from './activity.ts';
export { type Agent, createAgent } from './agent.ts';
export {
  loadMachineConfig,
  type MachineConfig,
  machineFiles,
  openKeyInToken,
  type TokenSettings,
  tokenSettings,
} from './config.ts';
export { checkPackage } from './packages/check-package.ts';
export {
  type ConsumerKey,
  consumerKey,
  consumerKeyId,
  makeConsumerKey,
  readConsumerKey,
} from './packages/consumer-key.ts';
export { readDriverKey, signDriverKey } from './packages/driver-key.ts';
export type { PackageQueue, PackageResult, QueuedPackage } from './packages/make-package.ts';
export { PackageFolder } from './packages/package-folder.ts';
export { openPackageSource } from './packages/package-source.ts';
