import { type Bytes, copyBytes, equalBytes, MillraceError } from '@millrace/base';
import { type Directory, type MessageOf, ownerParty, partyOf, sameParty, sha256, verifyFor } from '@millrace/protocol';
import { type Manifest, readManifest } from '@millrace/vault';

/**
 * Verifies a new design. Both proactive nodes check independently that its manifest names the owner and the owner's
 * organisation, that the administrator registered the owner or the owner is a designer of that organisation, and that
 * the owner signed exactly this manifest and is not revoked.
 * @throws {MillraceError} E_SIGNATURE, E_AUTH, E_INPUT, E_FORBIDDEN, E_EXPIRED, E_REVOKED
 */
export async function verifyDesign(
  message: MessageOf<'design.add'>,
  directory: Directory,
): Promise<{ manifest: Manifest; keysHash: Bytes }> {
  const manifest = readManifest(message.manifest);
  const { owner, designId } = manifest;
  const { body, signatory } = await verifyFor({ key: owner }, 'designer', message, directory);
  if (!sameParty(ownerParty(manifest), partyOf(signatory)))
    throw new MillraceError('E_FORBIDDEN', 'the design names another organisation than its owner’s');
  if (body.type !== 'design.add') throw new MillraceError('E_INPUT', 'not a design');
  if (!equalBytes(sha256(message.manifest), body.manifestHash))
    throw new MillraceError('E_INPUT', 'not the manifest that was signed');
  if (designId !== body.design) throw new MillraceError('E_INPUT', 'the design’s id is not that of its manifest');
  return { manifest, keysHash: copyBytes(body.keysHash) };
}
