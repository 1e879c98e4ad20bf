// For programs and tests that control an installation. The command itself is main.ts.
export { type InitOptions, type Installed, initInstallation } from './installation/init.ts';
export { type Layout, layoutOf } from './installation/layout.ts';
export { type Installation, openInstallation, openUser, readAddresses } from './installation/open.ts';
export {
  type InstallationSession,
  type InstallationSessionOptions,
  openSession,
  type UserSession,
} from './installation/session.ts';
export { builtEntries, type Entries } from './supervisor/children.ts';
export type { ProcessSpec, ProcessStatus } from './supervisor/managed-process.ts';
export { createSupervisor, type Supervisor } from './supervisor/supervisor.ts';
export { type Running, startInstallation, type UpOptions } from './supervisor/up.ts';
