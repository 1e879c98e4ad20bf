import { type Bytes, equalBytes, fromBase64, MillraceError } from '@millrace/base';
import { sha256 } from '@millrace/protocol';
import { type NamedCore, openPrivatePart, readCore } from '@millrace/vault';
import { withSecret } from './secret.ts';
import type { Session } from './session.ts';

/**
 * The core of one of the user's designs, as signed by the user. Control provides it; the id is checked against its
 * bytes.
 * @throws {MillraceError} E_SEGMENT if control provides another core, E_FORBIDDEN if it belongs to another owner,
 *   E_NOT_FOUND, E_DESIGN_DELETED
 */
export async function ownDesign({ api, signer }: Session, design: string): Promise<NamedCore> {
  const view = await api.design(design);
  if (view.state === 'deleting' || view.state === 'deleted')
    throw new MillraceError('E_DESIGN_DELETED', 'the design was deleted', { data: { design } });
  const core = readCore(fromBase64(view.core));
  if (core.designId !== design)
    throw new MillraceError('E_SEGMENT', `control shows another design than ${design}`, { data: { design } });
  if (!equalBytes(core.owner, signer.publicKey))
    throw new MillraceError('E_FORBIDDEN', 'the design is another owner’s', { data: { design } });
  return core;
}

/**
 * The design secret, from the part that the owner sealed to itself: 32 bytes, the caller wipes them.
 * @throws {MillraceError} E_SEGMENT if control provides that of another design, E_SEAL, E_NOT_FOUND
 */
export async function ownDesignSecret(session: Session, { designId, privateHash, nonce }: NamedCore): Promise<Bytes> {
  const sealed = await session.api.privatePart(designId);
  const other = () =>
    new MillraceError('E_SEGMENT', `control gave another private part than that of design ${designId}`, {
      data: { design: designId },
    });
  if (privateHash === undefined || !equalBytes(sha256(sealed), privateHash)) throw other();
  const part = await withSecret(session.user, (secret) => openPrivatePart(secret, sealed));
  if (!equalBytes(part.nonce, nonce)) throw other();
  return part.designSecret;
}
