import { systemClock, systemRandom } from '@millrace/base';
import type { Processes, Rotatable } from '@millrace/cli/parts';
import { type RotationOptions, rotate } from '@millrace/cli/parts';
import type { NodeRole } from '@millrace/protocol';
import { MACHINE, type ProcessName, processNames, type TestInstallation } from './test-installation.ts';

/** Controls the processes of a test installation for key rotation, instead of a supervisor. Does not restart agents. */
export function processesOf({ processes }: TestInstallation): Processes {
  return {
    running: async () =>
      processNames.filter((name) => processes[name].running).map((name) => (name === 'machine' ? MACHINE : name)),
    restart: async (name) => {
      const process = processes[name as ProcessName];
      await process.stop();
      await process.start();
    },
  };
}

export function rotateIn(
  system: TestInstallation,
  what: Rotatable,
  options: Partial<RotationOptions> & { readonly roles?: readonly NodeRole[] } = {},
): Promise<NodeRole[]> {
  const { installation } = system;
  return rotate(what, {
    installation,
    processes: processesOf(system),
    clock: systemClock,
    random: systemRandom,
    ...options,
  });
}
