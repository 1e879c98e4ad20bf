import { MillraceError } from '@millrace/base';
import { requireName } from '../installation/layout.ts';
import { openInstallation } from '../installation/open.ts';
import type { Context } from './context.ts';

/**
 * Folder of a machine.
 * @param machine its name in the installation; or the path of its folder, for an agent at another place
 * @throws {MillraceError} E_NOT_FOUND, E_STATE
 */
export async function machineFolder({ home, clock, path }: Context, machine: string): Promise<string> {
  if (/[/\\]/.test(machine)) return path(machine);
  const { description, layout } = await openInstallation(home, clock);
  const known = description.machines.find(({ name }) => name === requireName(machine));
  if (known === undefined)
    throw new MillraceError('E_NOT_FOUND', `there is no machine ${machine} here; name it, or its folder as a path`);
  if (known.elsewhere)
    throw new MillraceError(
      'E_STATE',
      `the agent of ${machine} is at another place: run this there, with the path of the machine's folder`,
    );
  return layout.machine(machine);
}
