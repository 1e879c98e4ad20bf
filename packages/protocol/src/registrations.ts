import { type Bytes, copyBytes, fromHex, MillraceError } from '@millrace/base';
import { keyName } from '@millrace/identity';
import type { Directory } from './directory.ts';
import { type Machine, onlyKey, type Transaction, type TransactionOf, verifyTransaction } from './documents.ts';

// Registrations are trusted because the administrator signed them. The control node only delivers them.

type Named = Pick<Directory, 'installation' | 'adminKey'>;

async function signedByAdministrator(document: Uint8Array, directory: Named): Promise<Transaction> {
  const admin = fromHex(directory.adminKey);
  // A registration is valid until another replaces it. Its expiry limits only its delivery.
  return (await verifyTransaction(document, directory.installation, onlyKey(admin), 'any time')).body;
}

/**
 * @returns the machine that the administrator registered with this document
 * @throws {MillraceError} E_SIGNATURE, E_AUTH if the signer is not the administrator, E_INPUT, E_MACHINE_UNKNOWN
 */
export async function verifyMachineRegistration(document: Uint8Array, directory: Named): Promise<Machine> {
  const body = await signedByAdministrator(document, directory);
  if (body.type !== 'machine.register') throw new MillraceError('E_INPUT', 'not the registration of a machine');
  if (keyName(body.machine.publicKey) !== body.machine.machine)
    throw new MillraceError('E_MACHINE_UNKNOWN', 'the machine’s name does not match its key');
  return body.machine;
}

/**
 * @returns which organisation holds a machine, by the administrator
 * @throws {MillraceError} E_SIGNATURE, E_AUTH if the signer is not the administrator, E_INPUT
 */
export async function verifyAssignment(
  document: Uint8Array,
  directory: Named,
): Promise<TransactionOf<'machine.assign'>> {
  const body = await signedByAdministrator(document, directory);
  if (body.type !== 'machine.assign') throw new MillraceError('E_INPUT', 'not the assignment of a machine');
  return body;
}

/**
 * @returns the organisation that the administrator registered with this document
 * @throws {MillraceError} E_SIGNATURE, E_AUTH if the signer is not the administrator, E_INPUT
 */
export async function verifyOrganisationRegistration(
  document: Uint8Array,
  directory: Named,
): Promise<TransactionOf<'organisation.register'>> {
  const body = await signedByAdministrator(document, directory);
  if (body.type !== 'organisation.register')
    throw new MillraceError('E_INPUT', 'not the registration of an organisation');
  return body;
}

/**
 * @returns the key, 65 bytes, with which control signs permits according to this document
 * @throws {MillraceError} E_SIGNATURE, E_AUTH if the signer is not the administrator, E_INPUT
 */
export async function verifyPermitKey(document: Uint8Array, directory: Named): Promise<Bytes> {
  const body = await signedByAdministrator(document, directory);
  if (body.type !== 'permit-key.register') throw new MillraceError('E_INPUT', 'not the registration of a permit key');
  return copyBytes(body.publicKey);
}
