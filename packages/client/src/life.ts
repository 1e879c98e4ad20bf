import { equalBytes, fromBase64, fromHex, MillraceError } from '@millrace/base';
import {
  holderParty,
  type InspectionResult,
  lifeName,
  OFFER_MS,
  type Party,
  partyName,
  partyOf,
  type RetirementReason,
  sameParty,
  sha256,
  verifyCredential,
  verifyFor,
} from '@millrace/protocol';
import { type CertificateSummary, checkCertificate, trustOf } from './certificates.ts';
import { licenceHolder, ownParty } from './people.ts';
import type { Session } from './session.ts';
import { signNew } from './transactions.ts';

// What the owner of a part, its next owner and inspectors sign. Each document names the newest one before it, which is
// taken from the part's verified certificate and not from what control says.

/**
 * Offers a part to another party. The part changes hands when that party accepts it.
 * @param to an organisation by name or identifier, a contact by name, or a key by its name
 * @returns the name of the party
 * @throws {MillraceError} E_FORBIDDEN (not the part's owner), E_STATE (not made, retired, or a case is open), E_CONFLICT
 */
export async function transferPart(session: Session, object: string, to: string): Promise<string> {
  const { after } = await following(session, object);
  const party = await licenceHolder(session, to);
  const { bytes } = await signNew(session, { type: 'object.transfer', object, after, to: party }, undefined, OFFER_MS);
  await session.api.submit(bytes);
  return partyName(holderParty(party));
}

/**
 * Accepts a part that is offered to the user's party. Signs only after the certificate proved that whoever offers the
 * part owns it, and that control shows its newest event.
 * @returns the verified certificate before the transfer
 * @throws {MillraceError} E_NOT_FOUND (nobody offers it), E_EVIDENCE (the offer is not its owner's), E_FORBIDDEN, E_EXPIRED
 */
export async function acceptPart(session: Session, object: string): Promise<CertificateSummary> {
  const { directory, clock } = session;
  const { offer } = (await session.api.object(object)).life;
  if (offer === undefined) throw new MillraceError('E_NOT_FOUND', `nobody offers object ${object}`);
  const { summary, after } = await following(session, object);
  if (summary.completeTo === undefined)
    throw new MillraceError('E_EVIDENCE', 'the certificate does not prove that it is complete: ask again later');
  const offered = { transaction: fromBase64(offer.transaction), credential: fromBase64(offer.credential) };
  const from: Party = partyOf(await verifyCredential(offered.credential, directory));
  const { body } = await verifyFor(from, 'operator', offered, directory, clock.now());
  const isOwner = body.type === 'object.transfer' && partyName(from) === summary.life.owner;
  if (!isOwner || body.object !== object || !sameBytes(body.after, after))
    throw new MillraceError('E_EVIDENCE', 'the offer is not of the part’s owner, or is no longer its newest document');
  if (!sameParty(holderParty(body.to), await ownParty(session)))
    throw new MillraceError('E_FORBIDDEN', 'the part is offered to another party');
  const acceptance = { type: 'object.accept' as const, object, transfer: lifeName(offered.transaction) };
  await session.api.submit((await signNew(session, acceptance)).bytes);
  return summary;
}

/**
 * Names who may sign inspections of the part for its owner, in place of those named before.
 * @param inspectors organisations by name or identifier, contacts by name, or keys by their names; at most 10
 * @throws {MillraceError} E_FORBIDDEN (not the part's owner), E_STATE, E_CONFLICT
 */
export async function appointInspectors(session: Session, object: string, inspectors: readonly string[]) {
  const { after } = await following(session, object);
  const parties = await Promise.all(inspectors.map((name) => licenceHolder(session, name)));
  await session.api.submit(
    (await signNew(session, { type: 'object.appoint', object, after, inspectors: parties })).bytes,
  );
}

export interface Inspection {
  readonly result: InspectionResult;
  readonly method?: string | undefined;
  /** The inspection report. Only its hash is signed; the parties keep it. */
  readonly report?: Uint8Array | undefined;
}

/**
 * States the result of an inspection, as the part's owner or an inspector whom it has named.
 * @throws {MillraceError} E_FORBIDDEN, E_STATE (not made, or retired), E_CONFLICT
 */
export async function inspectPart(session: Session, object: string, { report, ...result }: Inspection): Promise<void> {
  const { after } = await following(session, object);
  const document = report && sha256(report);
  await session.api.submit(
    (await signNew(session, { type: 'object.inspect', object, after, ...result, document })).bytes,
  );
}

/**
 * Takes the part out of use. Nothing can follow.
 * @throws {MillraceError} E_FORBIDDEN (not the part's owner), E_STATE, E_CONFLICT
 */
export async function retirePart(session: Session, object: string, reason: RetirementReason): Promise<void> {
  const { after } = await following(session, object);
  await session.api.submit((await signNew(session, { type: 'object.retire', object, after, reason })).bytes);
}

/** The part's verified certificate, and the document that the next one has to name. */
async function following(session: Session, object: string) {
  const summary = await checkCertificate(await session.api.certificate(object), trustOf(session));
  const { newest } = summary.life;
  return { summary, after: newest === undefined ? undefined : fromHex(newest) };
}

function sameBytes(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  return a === undefined || b === undefined ? a === b : equalBytes(a, b);
}
