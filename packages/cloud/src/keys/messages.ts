import { type Logger, MillraceError, toHex, toMillraceError } from '@millrace/base';
import type { DirectoryNode, LinkMessage, Message } from '@millrace/protocol';
import type { Handler } from '../node/mail-client.ts';
import type { KeysContext } from './context.ts';
import { addDesign, addLicence, deleteDesign, setMaintenance } from './design-messages.ts';
import type { KeysStreams } from './streams.ts';
import { handleVaultMessage } from './vault-messages.ts';

/** Handles a message on a link to a distribution node. */
export function handleLinkMessage(streams: KeysStreams, message: LinkMessage, logger: Logger): void {
  if (message.kind === 'reverse')
    streams.receive(message.session, message.payload).catch((error: unknown) => {
      // One machine's frames must not stop other machines' streams.
      logger.error({ err: toMillraceError(error) }, 'reverse frame dropped');
    });
  if (message.kind === 'control' && message.message.type === 'lost') void streams.stop(toHex(message.message.session));
}

/**
 * Dispatches mail by its sender: announcements from control, requests and answers from the segments node. Openings are
 * handled at once, the mail of the vault beside them, and everything else alone.
 * @throws {MillraceError} E_INPUT for a type that the sender may not use
 */
export async function handleMail(
  context: KeysContext,
  message: Message,
  from: DirectoryNode,
  goOn: Parameters<Handler>[2],
): Promise<void> {
  const { openings, streams } = context;
  if (from.role === 'control' && message.type === 'stream.open')
    return openings.open(message.opening, goOn, (later) => streams.open(message.opening, message, later));
  if (from.role === 'segments') {
    context.members.heard(from.id);
    switch (message.type) {
      case 'vault':
        return handleVaultMessage(context, message.message, from.id, goOn);
      case 'vault.key':
        await context.vaultKeys.stated(from.id, message.point);
        if (message.started) {
          context.storing.restarted(from.id);
          context.maintenance.restarted(from.id);
        }
        return;
      case 'vault.working':
        return;
    }
  }
  return openings.alone(() => handleAlone(context, message, from));
}

async function handleAlone(context: KeysContext, message: Message, from: DirectoryNode): Promise<void> {
  if (from.role === 'control') {
    switch (message.type) {
      case 'design.add':
        return addDesign(context, message);
      case 'design.delete':
        return deleteDesign(context, message);
      case 'design.maintenance':
        return setMaintenance(context, message);
      case 'licence.grant':
        return addLicence(context, message);
      case 'licence.resume':
        return context.streams.resume(message);
      case 'licence.status':
        return context.streams.setLicenceStatus(message);
      case 'case.credit':
        return context.streams.credit(message);
      case 'licence.amend':
        return context.streams.transferLicence(message);
      case 'group.set':
      case 'machine.assign':
        return context.streams.takeGroupMail(message);
      case 'alarm.clear':
        return context.streams.clearAlarm(message);
      case 'vault.check':
        return context.checks.ask(message.check, message.deep);
    }
  }
  if (from.role === 'segments') {
    switch (message.type) {
      case 'slice.missing':
        return context.streams.missing(message, from.id);
      case 'stream.alarm':
        return context.streams.alarmed(message);
    }
  }
  throw new MillraceError('E_INPUT', `the keys node takes no ${message.type} from ${from.role}`);
}
