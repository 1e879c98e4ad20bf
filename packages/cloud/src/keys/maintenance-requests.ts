import { MillraceError } from '@millrace/base';
import {
  type DesignOwner,
  type Directory,
  type MessageOf,
  ownerParty,
  type TransactionOf,
  verifyFor,
} from '@millrace/protocol';

/**
 * Verifies an owner's request for another maintenance mode for the owner that was received with the design. The
 * transaction may have waited in the mailbox past its expiry, so only the time of signing counts: the newest request
 * wins.
 * @throws {MillraceError} E_SIGNATURE, E_AUTH (another signer), E_INPUT, E_EXPIRED, E_REVOKED, E_FORBIDDEN (not a
 * maintenance request for this design)
 */
export async function verifyMaintenanceRequest(
  request: Omit<MessageOf<'design.maintenance'>, 'type'>,
  owner: DesignOwner,
  directory: Pick<Directory, 'installation' | 'adminKey' | 'revocations'>,
): Promise<TransactionOf<'design.maintenance'>> {
  const { body } = await verifyFor(ownerParty(owner), 'designer', request, directory);
  if (body.type !== 'design.maintenance' || body.design !== request.design)
    throw new MillraceError('E_FORBIDDEN', 'not the owner’s maintenance request for this design');
  return body;
}
