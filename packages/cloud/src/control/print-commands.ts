import { type Bytes, MillraceError, toHex } from '@millrace/base';
import type { Attested, PrintCommand } from '@millrace/protocol';
import type { ControlContext } from './context.ts';
import { isBegun, type PrintRecord, seenRecord } from './records.ts';
import { replay } from './replay.ts';
import { verifySubmitted } from './verify-submitted.ts';

/**
 * Passes a person's signed command to the machine that makes a print, and waits until it has obeyed. Control cannot
 * make a command: the agent verifies the signature itself.
 * @param allow gets the signer's key name and decides whether the caller may submit it
 * @throws {MillraceError} E_INPUT (another command than that of the path), E_STATE if the print does not run, E_REPLAY,
 *   the machine's refusal, and as `CommandBoard.submit`
 */
export async function commandPrint(
  context: ControlContext,
  found: PrintRecord,
  command: PrintCommand,
  transaction: Bytes,
  allow: (signer: string) => void,
): Promise<void> {
  const { body, bytes, credential } = await verifySubmitted(context, transaction, allow);
  if (body.type !== 'print.command' || body.print !== found.print || body.command !== command)
    throw new MillraceError('E_INPUT', `transaction: not the command ${command} for this print`);
  const { print, machine } = found;
  if (!isBegun(found)) {
    const hint = found.state === 'queued' ? ': `print.cancel` takes it out of the queue' : '';
    throw new MillraceError('E_STATE', `the print is ${found.state}${hint}`, { data: { print, state: found.state } });
  }
  if (found.cloud !== undefined)
    throw new MillraceError('E_STATE', 'a machine of another cloud takes commands at its own place only');
  const id = toHex(body.id);
  if (!(await context.records.seen.create(id, seenRecord(body)))) throw replay(id);
  await context.commands.submit(print, machine, id, { transaction: bytes, credential });
}

/**
 * A command for the print that a machine makes, as soon as there is one.
 * @throws {MillraceError} E_NOT_FOUND, E_FORBIDDEN
 */
export async function nextCommand(
  { records, commands }: ControlContext,
  machine: string,
  { print, wait }: { readonly print: string; readonly wait: number },
  gone: AbortSignal,
): Promise<{ command?: Attested }> {
  const found = await records.prints.require(print);
  if (found.machine !== machine || found.cloud !== undefined)
    throw new MillraceError('E_FORBIDDEN', 'the print is for another machine');
  const command = await commands.next(print, wait, gone);
  return command === undefined ? {} : { command };
}
