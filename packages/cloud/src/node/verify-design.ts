import { type Bytes, copyBytes, equalBytes, MillraceError } from '@millrace/base';
import { keyId } from '@millrace/identity';
import { type Directory, type MessageOf, sha256, verifyTransaction, verifyUserRegistration } from '@millrace/protocol';
import { type Manifest, readManifest } from '@millrace/vault';

/**
 * What both proactive nodes check of a new design for themselves: its manifest names the owner, the administrator
 * registered that owner, and the owner signed exactly this manifest.
 * @throws {MillraceError} E_SIGNATURE, E_AUTH, E_INPUT, E_FORBIDDEN
 */
export async function verifyDesign(
  message: MessageOf<'design.add'>,
  directory: Directory,
): Promise<{ manifest: Manifest; keysHash: Bytes }> {
  const manifest = readManifest(message.manifest);
  const { owner, designId } = manifest;
  if (!equalBytes(await verifyUserRegistration(message.registration, directory), owner))
    throw new MillraceError('E_FORBIDDEN', 'the registration is not that of the design’s owner');
  const lookup = (id: Bytes) => (equalBytes(id, keyId(owner)) ? owner : undefined);
  const { body } = await verifyTransaction(message.transaction, directory.installation, lookup, 'any time');
  if (body.type !== 'design.add') throw new MillraceError('E_INPUT', 'not a design');
  if (!equalBytes(sha256(message.manifest), body.manifestHash))
    throw new MillraceError('E_INPUT', 'not the manifest that was signed');
  if (designId !== body.design) throw new MillraceError('E_INPUT', 'the design’s id is not that of its manifest');
  return { manifest, keysHash: copyBytes(body.keysHash) };
}
