import { type OperatorRequest, operate, statusText } from '@millrace/machine/admin';
import type { Context } from './context.ts';
import { machineFolder } from './machine-folder.ts';

/** Gives a command of the operator to the agent on this computer. */
export async function operateMachine(
  context: Context,
  command: OperatorRequest['command'],
  machine: string,
  { cause }: { readonly cause?: string },
): Promise<void> {
  const folder = await machineFolder(context, machine);
  const status = await operate(folder, { command, ...(cause === undefined ? {} : { cause }) });
  context.terminal.result({ machine, ...status }, statusText(machine, status));
}
