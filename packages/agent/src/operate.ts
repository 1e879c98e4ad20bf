import { parseArgs } from 'node:util';
import { MillraceError } from '@millrace/base';
import { type OperatorRequest, operate, operatorCommands, statusText } from '@millrace/machine/admin';
import { readCloud } from './pairing/machine-folder.ts';
import { slotFolder, slotsOf } from './site.ts';

/** A command for a machine of this site, whose agent runs. */
export interface Operation {
  readonly folder: string;
  readonly request: OperatorRequest;
  /** Number of its folder, or its name at its cloud. */
  readonly machine: string | undefined;
}

/**
 * Reads `COMMAND [MACHINE] --folder FOLDER --cause TEXT`.
 * @returns undefined if the arguments are no command of an operator
 * @throws {MillraceError} E_CONFIG
 */
export function operationIn(args: readonly string[], env: NodeJS.ProcessEnv): Operation | undefined {
  const command = operatorCommands.find((known) => known === args[0]);
  if (command === undefined) return undefined;
  const usage = `usage: millrace-agent ${command} [MACHINE] --folder FOLDER [--cause TEXT]`;
  try {
    const { values, positionals } = parseArgs({
      args: args.slice(1),
      allowPositionals: true,
      options: { folder: { type: 'string' }, cause: { type: 'string' } },
    });
    const { folder = env.MILLRACE_AGENT_FOLDER, cause } = values;
    if (!folder || positionals.length > 1) throw new Error('expected a folder, and one machine at most');
    return { folder, request: { command, ...(cause === undefined ? {} : { cause }) }, machine: positionals[0] };
  } catch (cause) {
    throw new MillraceError('E_CONFIG', usage, { cause });
  }
}

/**
 * Gives the command to the agent of the machine.
 * @returns the machine's state in words
 * @throws {MillraceError} E_NOT_FOUND, E_INPUT if it has to be said which machine; errors of `operate`
 */
export async function operateMachine({ folder, request, machine }: Operation): Promise<string> {
  const machines = await machinesOf(folder);
  const named = machines.filter(({ slot, name }) => machine === undefined || machine === slot || machine === name);
  const [found, ...others] = named;
  if (found === undefined)
    throw new MillraceError('E_NOT_FOUND', `there is no machine ${machine ?? ''} in ${folder}`.replace('  ', ' '));
  if (others.length > 0)
    throw new MillraceError(
      'E_INPUT',
      `name the machine: ${machines.map(({ slot, name }) => (name === undefined ? slot : `${slot} (${name})`)).join(', ')}`,
    );
  return statusText(found.name ?? found.slot, await operate(slotFolder(folder, found.slot), request));
}

async function machinesOf(folder: string): Promise<{ readonly slot: string; readonly name: string | undefined }[]> {
  const slots = await slotsOf(folder);
  return Promise.all(
    slots.map(async (slot) => {
      const cloud = await readCloud(slotFolder(folder, slot)).catch(() => undefined); // not paired
      return { slot, name: cloud?.name };
    }),
  );
}
