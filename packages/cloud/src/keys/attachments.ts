import { type Bytes, MillraceError } from '@millrace/base';
import { type BoxSecrets, openFromBox } from '@millrace/protocol';

/**
 * Opens an attachment that an owner has sealed to this node. If it can never be opened (its key is erased, or it is
 * sealed to another key), reports that to control, so that nothing waits for it.
 * @throws {MillraceError} E_BOX_KEY, E_SEAL
 */
export async function openAttachment(
  boxes: BoxSecrets | undefined,
  info: Uint8Array,
  sealed: Uint8Array,
  refuse: (code: string, reason: string) => Promise<void>,
): Promise<Bytes> {
  try {
    if (boxes === undefined) throw new MillraceError('E_INTERNAL', 'this node opens no attachments');
    return await openFromBox(boxes, info, sealed);
  } catch (error) {
    if (error instanceof MillraceError && (error.code === 'E_BOX_KEY' || error.code === 'E_SEAL'))
      await refuse(error.code, error.message);
    throw error;
  }
}
