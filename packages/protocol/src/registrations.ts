import { type Bytes, copyBytes, equalBytes, fromHex, MillraceError } from '@millrace/base';
import { keyId, keyName } from '@millrace/identity';
import type { Directory } from './directory.ts';
import { type Machine, type Transaction, verifyTransaction } from './documents.ts';

// Who is who rests on the administrator's signature, not on the control node's word.

type Named = Pick<Directory, 'installation' | 'adminKey'>;

async function signedByAdministrator(document: Uint8Array, directory: Named): Promise<Transaction> {
  const admin = fromHex(directory.adminKey);
  const lookup = (id: Bytes) => (equalBytes(id, keyId(admin)) ? admin : undefined);
  // A registration holds until another takes its place: its own expiry ends its delivery.
  return (await verifyTransaction(document, directory.installation, lookup, 'any time')).body;
}

/**
 * @returns the user's key, 33 bytes, that the administrator registered with this document
 * @throws {MillraceError} E_SIGNATURE, E_AUTH when it is not the administrator's, E_INPUT
 */
export async function verifyUserRegistration(document: Uint8Array, directory: Named): Promise<Bytes> {
  const body = await signedByAdministrator(document, directory);
  if (body.type !== 'user.register') throw new MillraceError('E_INPUT', 'not the registration of a user');
  return copyBytes(body.publicKey);
}

/**
 * @returns the machine that the administrator registered with this document
 * @throws {MillraceError} E_SIGNATURE, E_AUTH when it is not the administrator's, E_INPUT, E_MACHINE_UNKNOWN
 */
export async function verifyMachineRegistration(document: Uint8Array, directory: Named): Promise<Machine> {
  const body = await signedByAdministrator(document, directory);
  if (body.type !== 'machine.register') throw new MillraceError('E_INPUT', 'not the registration of a machine');
  if (keyName(body.machine.publicKey) !== body.machine.machine)
    throw new MillraceError('E_MACHINE_UNKNOWN', 'the machine’s name is not that of its key');
  return body.machine;
}

/**
 * @returns the key, 65 bytes, with which control signs permits by this word of the administrator
 * @throws {MillraceError} E_SIGNATURE, E_AUTH when it is not the administrator's, E_INPUT
 */
export async function verifyPermitKey(document: Uint8Array, directory: Named): Promise<Bytes> {
  const body = await signedByAdministrator(document, directory);
  if (body.type !== 'permit-key.register') throw new MillraceError('E_INPUT', 'not the registration of a permit key');
  return copyBytes(body.publicKey);
}
