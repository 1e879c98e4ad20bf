import { type Bytes, MillraceError } from '@millrace/base';
import { type Directory, type TransactionOf, verifyTransactionBy } from '@millrace/protocol';

/**
 * Verifies an owner's request for another maintenance mode with the key that was received with the design. The
 * transaction may have waited in the mailbox past its expiry, so only the time of signing counts: the newest request
 * wins.
 * @throws {MillraceError} E_SIGNATURE, E_AUTH (another signer), E_INPUT, E_FORBIDDEN (not a maintenance request for
 * this design)
 */
export async function verifyMaintenanceRequest(
  transaction: Uint8Array,
  { design, owner, ...directory }: { design: string; owner: Bytes } & Pick<Directory, 'installation' | 'revocations'>,
): Promise<TransactionOf<'design.maintenance'>> {
  const { body } = await verifyTransactionBy(owner, transaction, directory);
  if (body.type !== 'design.maintenance' || body.design !== design)
    throw new MillraceError('E_FORBIDDEN', 'not the owner’s maintenance request for this design');
  return body;
}
