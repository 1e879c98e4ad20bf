import { type Bytes, equalBytes, MillraceError } from '@millrace/base';
import { keyId } from '@millrace/identity';
import { type TransactionOf, verifyTransaction } from '@millrace/protocol';

/**
 * An owner's wish for another mode of maintenance, verified by the keys node with the key that came with the design. It may have
 * waited long in the mailbox: the time of signing decides which is the newest, not whether it still counts.
 * @throws {MillraceError} E_SIGNATURE, E_AUTH (another signer), E_INPUT, E_FORBIDDEN (about something else)
 */
export async function verifyWish(
  transaction: Uint8Array,
  { design, owner, installation }: { design: string; owner: Bytes; installation: string },
): Promise<TransactionOf<'design.maintenance'>> {
  const lookup = (id: Bytes) => (equalBytes(id, keyId(owner)) ? owner : undefined);
  const { body } = await verifyTransaction(transaction, installation, lookup, 'any time');
  if (body.type !== 'design.maintenance' || body.design !== design)
    throw new MillraceError('E_FORBIDDEN', 'not the owner’s wish for this design');
  return body;
}
