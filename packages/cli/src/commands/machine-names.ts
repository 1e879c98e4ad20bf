import { MillraceError } from '@millrace/base';
import type { MachineView, Session } from '@millrace/client';

/** A machine by the user's own name for it, its serial number or identifier. @throws {MillraceError} E_NOT_FOUND */
export async function machineNamed(
  session: Session,
  name: string,
): Promise<{ readonly machine: string; readonly serial: string }> {
  return ownMachine(session, name) ?? machineAmong(await session.api.machines(), name);
}

/** Like `machineNamed`, as control shows the machines. @throws {MillraceError} E_NOT_FOUND */
export async function machinesNamed(session: Session, names: readonly string[]): Promise<MachineView[]> {
  if (names.length === 0) return [];
  const views = await session.api.machines();
  return names.map((name) => machineAmong(views, name, ownMachine(session, name)?.machine));
}

function ownMachine({ contacts }: Session, name: string) {
  return contacts.machines.find((entry) => [entry.name, entry.machine, entry.serial].includes(name));
}

function machineAmong(views: readonly MachineView[], name: string, id = name): MachineView {
  const found = views.find(({ machine, serial }) => machine === id || serial === id);
  if (found === undefined) throw new MillraceError('E_NOT_FOUND', `there is no machine ${name}`);
  return found;
}

/** The user's own name for a machine, or its identifier. */
export function machineName({ contacts }: Session, machine: string): string {
  return contacts.machines.find((known) => known.machine === machine)?.name ?? machine;
}

/** A machine for the text of a next step, by a name that this user's commands take. */
export async function exampleMachine({ api, contacts }: Session): Promise<string> {
  return contacts.machines[0]?.name ?? (await api.machines())[0]?.serial ?? 'MACHINE';
}

/** The identifier of a machine. An identifier is taken as it is: control says whether there is such a machine. */
export async function machineId(session: Session, name: string): Promise<string> {
  return /^[0-9a-f]{32}$/.test(name) ? name : (await machineNamed(session, name)).machine;
}
