import { type Bytes, equalBytes, fromBase64, MillraceError, wipe } from '@millrace/base';
import { keyName } from '@millrace/identity';
import { ignoringRevocations, openShare, ownerParty, partyOf, sameParty, sha256, verifyFor } from '@millrace/protocol';
import {
  envelopeKey,
  type NamedCore,
  openPrivatePartWith,
  type PrivatePart,
  privatePartKey,
  readCore,
} from '@millrace/vault';
import type { MachineSecrets } from './licensed-machines.ts';
import { ownCredential, verifyKeyView } from './people.ts';
import { withSealingKey, withSecret } from './secret.ts';
import type { Session } from './session.ts';

/**
 * The core of a design that belongs to the user or the user's organisation. Control provides it; the id is checked
 * against its bytes, and the key that added it against its credential.
 * @throws {MillraceError} E_SEGMENT if control provides another core, E_FORBIDDEN if it belongs to another owner,
 *   E_NOT_FOUND, E_DESIGN_DELETED
 */
export async function ownDesign(session: Session, design: string): Promise<NamedCore> {
  const { api } = session;
  const view = await api.design(design);
  if (view.state === 'deleting' || view.state === 'deleted')
    throw new MillraceError('E_DESIGN_DELETED', 'the design was deleted', { data: { design } });
  const core = readCore(fromBase64(view.core));
  if (core.designId !== design)
    throw new MillraceError('E_SEGMENT', `control shows another design than ${design}`, { data: { design } });
  await requireOwn(session, core);
  return core;
}

/** @throws {MillraceError} E_FORBIDDEN */
async function requireOwn(session: Session, core: NamedCore): Promise<void> {
  if (equalBytes(core.owner, session.signer.publicKey)) return;
  const owner = ownerParty(core);
  const own = partyOf(await ownCredential(session));
  // Anybody can name the organisation in a core. Only its members' keys may have added the design.
  const adder = await session.api.key(keyName(core.owner));
  const added = partyOf(await verifyKeyView({ directory: ignoringRevocations(session.directory) }, adder));
  if ('key' in owner || !sameParty(own, owner) || !sameParty(added, owner))
    throw new MillraceError('E_FORBIDDEN', 'the design is another owner’s', { data: { design: core.designId } });
}

/**
 * The design's private part, which the key that added the design sealed to itself and to other designers. The caller
 * wipes its design secret.
 * @throws {MillraceError} E_SEGMENT if control provides that of another design; E_SEAL; E_NOT_FOUND if nobody has shared
 *   the design with this key; E_FORBIDDEN (no designer of the owner, or shared by somebody who is none)
 */
export async function ownPrivatePart(session: Session, core: NamedCore): Promise<PrivatePart> {
  const sealed = await sealedPart(session, core);
  const key = await privatePartKeyOf(session, core, sealed);
  try {
    const part = openPrivatePartWith(key, sealed);
    if (!equalBytes(part.nonce, core.nonce)) throw anotherPart(core);
    return part;
  } finally {
    wipe(key);
  }
}

/** The design secret, 32 bytes; the caller wipes them. @throws {MillraceError} as `ownPrivatePart` */
export async function ownDesignSecret(session: Session, core: NamedCore): Promise<Bytes> {
  return (await ownPrivatePart(session, core)).designSecret;
}

/**
 * What the owner seals to the machines of a licence. The caller wipes it.
 * @param isPackaged a job package holds the design secret
 * @throws {MillraceError} as `ownPrivatePart`, if machines need the design secret
 */
export async function secretsForMachines(
  session: Session,
  core: NamedCore,
  { isPackaged }: { readonly isPackaged: boolean },
): Promise<MachineSecrets> {
  if (core.custody === 'owner' && !isPackaged) return { secret: await ownDesignSecret(session, core) };
  if (core.envelopeHash === undefined || core.privateHash === undefined) return {};
  let designSecret: Bytes | undefined;
  try {
    designSecret = await ownDesignSecret(session, core);
    return { envelopeKey: envelopeKey({ designSecret, nonce: core.nonce }) };
  } catch (error) {
    // A designer with whom the design is not shared may license it all the same. It cannot be rehearsed then.
    if (error instanceof MillraceError && error.code === 'E_NOT_FOUND') return {};
    throw error;
  } finally {
    wipe(designSecret);
  }
}

/** The private part as control keeps it. @throws {MillraceError} E_SEGMENT, E_NOT_FOUND */
export async function sealedPart({ api }: Session, core: NamedCore): Promise<Bytes> {
  const sealed = await api.privatePart(core.designId);
  if (core.privateHash === undefined || !equalBytes(sha256(sealed), core.privateHash)) throw anotherPart(core);
  return sealed;
}

/** The key of a design's private part, 32 bytes; the caller wipes it. @throws {MillraceError} as `ownPrivatePart` */
export async function privatePartKeyOf(session: Session, core: NamedCore, sealed: Bytes): Promise<Bytes> {
  const { signer, user, directory, api } = session;
  if (equalBytes(core.owner, signer.publicKey)) return withSecret(user, (secret) => privatePartKey(secret, sealed));
  const { designId: design } = core;
  const shared = await api.designShare(design);
  const { body } = await verifyFor(ownerParty(core), 'designer', shared, ignoringRevocations(directory));
  const key = keyName(signer.publicKey);
  const own = body.type === 'design.share' && body.design === design && body.shares.find((share) => share.key === key);
  if (!own) throw new MillraceError('E_FORBIDDEN', 'control gave another document than the share of this design');
  const binding = { installation: directory.installation, design, key };
  return withSealingKey(user, (sealing) => openShare(sealing, binding, own.sealed));
}

function anotherPart({ designId }: NamedCore): MillraceError {
  return new MillraceError('E_SEGMENT', `control gave another private part than that of design ${designId}`, {
    data: { design: designId },
  });
}
