import { type Bytes, MillraceError } from '@millrace/base';
import { type BoxKey, chooseNode, readBoxKey, sealToBox } from '@millrace/protocol';
import type { Session } from './session.ts';

/**
 * Seals data that only the design's keys node may read, to the node's newest signed key. The node erases a key some
 * time after it publishes the next one. An older key, which control might hand out, is rejected by its age.
 * @throws {MillraceError} E_SIGNATURE, E_AUTH, E_CLOCK; E_UNAVAILABLE if the keys node has not published one recently
 */
export async function sealAttachment(
  session: Session,
  design: string,
  info: Uint8Array,
  plaintext: Uint8Array,
): Promise<Bytes> {
  return sealToBox(await newestBox(session, design), info, plaintext);
}

async function newestBox({ api, directory, clock }: Session, design: string): Promise<BoxKey> {
  const { id: node } = chooseNode(directory, 'keys', design);
  const document = await api.attachmentBox(node);
  try {
    return await readBoxKey(directory, { node, use: 'attachments' }, document, clock.now());
  } catch (cause) {
    if (!(cause instanceof MillraceError && cause.code === 'E_EXPIRED')) throw cause;
    throw new MillraceError('E_UNAVAILABLE', 'the keys node has not announced a new attachment key for too long', {
      cause,
    });
  }
}
