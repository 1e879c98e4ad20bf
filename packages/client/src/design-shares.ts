import { type Bytes, MillraceError, wipe } from '@millrace/base';
import { keyName } from '@millrace/identity';
import {
  type Credential,
  type Directory,
  MAX_SHARES,
  partyOf,
  requireRole,
  requireUnrevoked,
  sameParty,
  sealShare,
} from '@millrace/protocol';
import { ownDesign, privatePartKeyOf, sealedPart } from './own-design.ts';
import { heldRevocations, verifyKeyView } from './people.ts';
import type { Session } from './session.ts';
import { signNew } from './transactions.ts';

// The private part of a design is sealed to the key that added the design. Its key is sealed to the other designers of
// the organisation and to the person's other devices, so that they can name, license and inspect the design.

/** A key that can open the design. */
export interface Recipient {
  readonly key: string;
  readonly name: string;
  readonly device: string;
}

interface VerifiedRecipient extends Recipient {
  readonly sealingKey: Bytes;
}

/**
 * Seals the key of a design's private part to other designers of the organisation. Each recipient is verified by its
 * credential to the administrator's key, so control cannot add a key of its own.
 * @param design full identifier
 * @param wanted key names or persons; default: every designer's key that can open a share
 * @returns the recipients, none if there is no other designer
 * @throws {MillraceError} E_STATE (the design belongs to a key alone), E_NOT_FOUND (a wanted key that control does not
 *   show), E_FORBIDDEN, E_EXPIRED or E_REVOKED (a wanted key that is no designer's of the organisation), and as
 *   `ownDesign`, `ownPrivatePart`
 */
export async function shareDesign(
  session: Session,
  design: string,
  wanted?: readonly string[],
): Promise<readonly Recipient[]> {
  const core = await ownDesign(session, design);
  const { organisation } = core;
  if (organisation === undefined)
    throw new MillraceError('E_STATE', 'the design belongs to one key, not to an organisation', { data: { design } });
  const without = [keyName(core.owner), keyName(session.signer.publicKey)];
  const recipients = await designersOf(session, { organisation, without, wanted });
  const { installation } = session.directory;
  const key = await privatePartKeyOf(session, core, await sealedPart(session, core));
  try {
    for (let from = 0; from < recipients.length; from += MAX_SHARES) {
      const shares = [];
      for (const { key: name, sealingKey } of recipients.slice(from, from + MAX_SHARES))
        shares.push({ key: name, sealed: await sealShare(sealingKey, { installation, design, key: name }, key) });
      await session.api.submit((await signNew(session, { type: 'design.share', design, shares })).bytes);
    }
  } finally {
    wipe(key);
  }
  return recipients.map(({ sealingKey: _, ...recipient }) => recipient);
}

interface Sought {
  readonly organisation: string;
  /** Key names that need no share. */
  readonly without: readonly string[];
  readonly wanted: readonly string[] | undefined;
}

async function designersOf(session: Session, { organisation, without, wanted }: Sought): Promise<VerifiedRecipient[]> {
  const { api, directory, clock } = session;
  const { installation, adminKey } = directory;
  const trusted = { installation, adminKey, revocations: await heldRevocations(session) };
  const views = (await api.organisationKeys(organisation)).filter(
    ({ key, person }) =>
      !without.includes(key) && (wanted === undefined || wanted.includes(key) || wanted.includes(person ?? '')),
  );
  const missing = wanted?.find((name) => !views.some(({ key, person }) => key === name || person === name));
  if (missing !== undefined)
    throw new MillraceError('E_NOT_FOUND', `the organisation has no other key or person ${missing}`);
  const found: VerifiedRecipient[] = [];
  for (const view of views) {
    try {
      const credential = await verifyKeyView({ directory: trusted }, view);
      found.push(recipientOf(credential, trusted, { organisation, now: clock.now() }));
    } catch (error) {
      // A key that was asked for is refused with its code. By default, keys that may not open the design are left out.
      if (wanted !== undefined || !(error instanceof MillraceError)) throw error;
    }
  }
  return found;
}

/** @throws {MillraceError} E_FORBIDDEN, E_EXPIRED, E_REVOKED */
function recipientOf(
  credential: Credential,
  directory: Pick<Directory, 'revocations'>,
  { organisation, now }: { readonly organisation: string; readonly now: number },
): VerifiedRecipient {
  const { publicKey, name, member, sealingKey, until } = credential;
  const key = keyName(publicKey);
  if (member === undefined || !sameParty(partyOf(credential), { organisation }))
    throw new MillraceError('E_FORBIDDEN', `the key ${key} (${name}) belongs to another organisation`);
  requireRole(credential, 'designer');
  requireUnrevoked(directory, key);
  if (now > until) throw new MillraceError('E_EXPIRED', `the key ${key} (${name}) has expired`);
  if (sealingKey === undefined) throw new MillraceError('E_FORBIDDEN', `the key ${key} (${name}) opens no secrets`);
  return { key, name, device: member.device, sealingKey };
}
