import { type Bytes, equalBytes, MillraceError } from '@millrace/base';
import { keyId } from '@millrace/identity';
import { type TransactionOf, verifyTransaction } from '@millrace/protocol';

/**
 * Verifies an owner's request for another maintenance mode with the key that came with the design. The transaction may have
 * waited in the mailbox past its expiry, so only the time of signing counts: the newest request wins.
 * @throws {MillraceError} E_SIGNATURE, E_AUTH (another signer), E_INPUT, E_FORBIDDEN (about something else)
 */
export async function verifyMaintenanceRequest(
  transaction: Uint8Array,
  { design, owner, installation }: { design: string; owner: Bytes; installation: string },
): Promise<TransactionOf<'design.maintenance'>> {
  const lookup = (id: Bytes) => (equalBytes(id, keyId(owner)) ? owner : undefined);
  const { body } = await verifyTransaction(transaction, installation, lookup, 'any time');
  if (body.type !== 'design.maintenance' || body.design !== design)
    throw new MillraceError('E_FORBIDDEN', 'not the owner’s maintenance request for this design');
  return body;
}
