import { isErrorCode, MillraceError, toHex, wipe } from '@millrace/base';
import { type MessageOf, nodesOf } from '@millrace/protocol';
import { decodeMessage, encodeMessage, wipeMessage } from '@millrace/vault';
import type { SegmentsContext } from './context.ts';
import { stateKeyAgain } from './state-key.ts';

const WORKING_MS = 1_000;

/** Handles a message from the keys node's part of the vault. */
export async function handleVaultMessage(
  context: SegmentsContext,
  { point, sealed }: MessageOf<'vault.sealed'>,
  from: string,
): Promise<void> {
  const bytes = await context.vaultKeys.open(from, point, sealed);
  if (bytes === undefined) {
    context.logger.info({ from }, 'message of the vault dropped: its key was lost or erased; stating the newest');
    return stateKeyAgain(context.vaultKeys, context.outbound.mail, from);
  }
  const working = sayWorking(context, from);
  try {
    await handleOpened(context, bytes, from);
  } finally {
    clearInterval(working);
    wipe(bytes);
  }
}

/** Tells the keys node every second that this node works, if another node could take over its work. */
function sayWorking({ outbound, directory, logger }: SegmentsContext, keysNode: string) {
  if (nodesOf(directory, 'segments').length === 1) return undefined;
  let busy = false;
  return setInterval(() => {
    if (busy) return;
    busy = true;
    outbound.mail
      .send({ node: keysNode }, { type: 'vault.working' })
      .catch((error: unknown) => logger.debug({ err: error }, 'cannot say that this node works'))
      .finally(() => {
        busy = false;
      });
  }, WORKING_MS);
}

async function handleOpened(
  { cells, storing, repairing, seen, guard, outbound }: SegmentsContext,
  bytes: Uint8Array,
  from: string,
): Promise<void> {
  const message = decodeMessage(bytes);
  const answer = (reply: Parameters<typeof encodeMessage>[0]) =>
    outbound.mail.send({ node: from }, { type: 'vault', message: encodeMessage(reply) });
  switch (message.type) {
    case 'store':
      // Stored before the next message is handled, so that no later step of a sweep overtakes it. All three calls wipe
      // the keys.
      if (repairing.placements.expects(message)) return repairing.placements.answered(message);
      return message.decoys ? storing.placements.store(message) : storing.placements.answered(message);
    case 'recorded':
      storing.placements.recorded(message);
      return repairing.placements.recorded(message);
    case 'refused': {
      // The keys node cannot open the design's keys. Refuse only this design and continue the queue.
      const code = isErrorCode(message.code) ? message.code : 'E_SEAL';
      const refusal = new MillraceError(code, `the keys node refuses the design: ${message.reason}`);
      return storing.placements.refuse(toHex(message.design), refusal);
    }
    case 'maintain':
      try {
        const order = await seen.judge(message.to);
        const which = `a sweep to epoch ${message.to} after epoch ${seen.epoch}`;
        if (order === 'old') throw new MillraceError('E_REPLAY', `${which}: an old message`);
        if (order === 'ahead') throw guard.suspect(`${which}: the segments node is older`);
        await seen.note(message.to);
        return await answer(await cells.maintain(message));
      } finally {
        wipeMessage(message);
      }
    case 'check':
      try {
        return await answer(await cells.check(message));
      } finally {
        wipeMessage(message);
      }
    default:
      throw new MillraceError('E_INPUT', `the segments node takes no ${message.type}`);
  }
}
