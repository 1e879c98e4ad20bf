import { type Logger, MillraceError, toHex, toMillraceError } from '@millrace/base';
import type { DirectoryNode, LinkMessage, Message, MessageOf } from '@millrace/protocol';
import type { Handler } from '../node/mail-client.ts';
import { isForPackage } from '../streaming/package-release.ts';
import type { SegmentsContext } from './context.ts';
import { stateKey } from './state-key.ts';
import type { SegmentsStreams } from './streams.ts';
import { handleVaultMessage } from './vault-messages.ts';

/** Handles a message on a link to a distribution node. */
export function handleLinkMessage(streams: SegmentsStreams, message: LinkMessage, logger: Logger): void {
  if (message.kind === 'reverse')
    streams.receive(message.session, message.payload).catch((error: unknown) => {
      // One machine's frames must not stop other machines' streams.
      logger.error({ err: toMillraceError(error) }, 'reverse frame dropped');
    });
  // The machine's link broke. The machine calls home again for a new session.
  if (message.kind === 'control' && message.message.type === 'lost') void streams.stop(toHex(message.message.session));
}

/**
 * Dispatches mail by its sender: announcements from control, instructions from the keys node. Messages of streams are
 * handled at once, openings beside them; all others are handled one after the other, in the order of the mail. A slice
 * is therefore read after every step of a sweep that was sent before it, and before the next step, which may remove the
 * cells that the slice names.
 * @throws {MillraceError} E_INPUT for a type that the sender may not use
 */
export async function handleMail(
  context: SegmentsContext,
  message: Message,
  from: DirectoryNode,
  goOn: Parameters<Handler>[2],
): Promise<void> {
  const { streams, openings, vault } = context;
  if (from.role === 'control') {
    switch (message.type) {
      case 'stream.open': {
        const { opening, distribution } = message;
        // The design of a job package is not stored first: it may have been added just before.
        if (isForPackage(opening)) return goOn(vault.run(() => streams.open(opening, distribution)));
        return openings.open(opening, goOn, (later) => streams.open(opening, distribution, later));
      }
      case 'alarm.clear':
        return openings.alone(() => streams.clearAlarm(message));
      case 'licence.resume':
        return openings.alone(() => streams.resume(message));
      case 'licence.status':
        return openings.alone(() => streams.setLicenceStatus(message));
      case 'case.credit':
        return openings.alone(() => streams.credit(message));
      case 'licence.amend':
        return openings.alone(() => streams.transferLicence(message));
      case 'group.set':
      case 'machine.assign':
        return openings.alone(() => streams.takeGroupMail(message));
    }
  }
  if (from.role === 'keys') {
    switch (message.type) {
      case 'stream.session':
        return openings.ofObject(message.parameters.object, () => streams.begin(message, goOn));
      case 'stream.slices':
        return streams.slices(message);
      case 'stream.mix':
        return streams.mix(message);
      case 'stream.close':
        return streams.stop(message.session);
    }
  }
  goOn(vault.run(() => handleInOrder(context, message, from)));
}

async function handleInOrder(context: SegmentsContext, message: Message, from: DirectoryNode): Promise<void> {
  const { designs, storing, repairing } = context;
  if (from.role === 'control') {
    switch (message.type) {
      case 'design.add':
        return designs.add(message);
      case 'design.uploaded':
        await designs.manifestOf(message.design);
        return storing.queue.begin(message.design, { design: message.design });
      case 'design.delete':
        return deleteDesign(context, message);
      case 'design.repair': {
        const { design, repair, segments } = message;
        return repairing.queue.begin(repair, { design, repair, segments });
      }
    }
  }
  if (from.role === 'keys') {
    switch (message.type) {
      case 'vault.sealed':
        return handleVaultMessage(context, message, from.id);
      case 'vault.renew':
        return stateKey(context.vaultKeys, context.outbound.mail, from.id, false);
      case 'vault.renewed':
        return context.vaultKeys.renewed(message.point);
    }
  }
  throw new MillraceError('E_INPUT', `the segments node takes no ${message.type} from ${from.role}`);
}

/**
 * Cancels the design's uploads before it returns, because the keys node forgets the design's cells after this message.
 */
export async function deleteDesign(
  { designs, storing, repairing, staged, streams }: SegmentsContext,
  message: MessageOf<'design.delete'>,
): Promise<void> {
  const { design } = message;
  await designs.delete(message);
  streams.endDesign(design, new MillraceError('E_DESIGN_DELETED', 'the owner has deleted the design'));
  await repairing.queue.cancel(design);
  await storing.queue.cancel(design);
  await staged.wipe(design);
}
