import type { LicenceView } from '@millrace/api';
import { fromBase64, MillraceError } from '@millrace/base';
import { isLicenceStatement, onlyKey, verifyTransaction } from '@millrace/protocol';
import type { Session } from './session.ts';
import { signNew } from './transactions.ts';

/**
 * Signs that no object of the licence may begin until it is reinstated. Objects in progress are finished.
 * @throws {MillraceError} E_STATE (already suspended), E_LICENCE_REVOKED, E_FORBIDDEN
 */
export async function suspendLicence(session: Session, view: LicenceView): Promise<void> {
  const { licence } = view;
  const number = await nextNumber(session, view);
  await session.api.submit((await signNew(session, { type: 'licence.suspend', licence, number })).bytes);
}

/** @throws {MillraceError} E_STATE (not suspended), E_LICENCE_REVOKED, E_FORBIDDEN */
export async function reinstateLicence(session: Session, view: LicenceView): Promise<void> {
  const { licence } = view;
  const number = await nextNumber(session, view);
  await session.api.submit((await signNew(session, { type: 'licence.reinstate', licence, number })).bytes);
}

/**
 * Signs that no object of the licence may begin any more.
 * @param stop also stops objects in progress; otherwise they are finished
 * @throws {MillraceError} E_STATE (already revoked), E_FORBIDDEN
 */
export async function revokeLicence(session: Session, view: LicenceView, { stop }: { stop: boolean }): Promise<void> {
  const { licence } = view;
  const number = await nextNumber(session, view);
  await session.api.submit((await signNew(session, { type: 'licence.revoke', licence, number, stop })).bytes);
}

/**
 * A number above that of the owner's newest statement. Control provides that statement; its signature is verified, so
 * that control cannot make the owner exhaust the numbers. If control provides an older statement, no harm results: the
 * clock is ahead of both.
 */
async function nextNumber({ signer, directory, clock }: Session, { licence, statement }: LicenceView): Promise<number> {
  if (statement === undefined) return clock.now();
  const own = onlyKey(signer.publicKey);
  const { body } = await verifyTransaction(fromBase64(statement), directory.installation, own, 'any time');
  if (!isLicenceStatement(body) || body.licence !== licence)
    throw new MillraceError('E_FORBIDDEN', 'control shows a statement on another licence');
  return Math.max(clock.now(), body.number + 1);
}
