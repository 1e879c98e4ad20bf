import type { CaseView, PrintView } from '@millrace/api';
import { copyBytes, equalBytes, fromBase64, MillraceError } from '@millrace/base';
import {
  type CaseEvidence,
  type CaseReason,
  licenceOf,
  openEvidence,
  partyOf,
  readTransaction,
  sealEvidence,
  sha256,
  verifyCredential,
  verifyLicence,
  verifyOrder,
} from '@millrace/protocol';
import { signedLicence } from './licence-amendments.ts';
import { withSealingKey } from './secret.ts';
import type { Session } from './session.ts';
import { signNew } from './transactions.ts';

/**
 * Signs that the object of a print cannot be used. Text and photo are sealed to the owner of the design, by the key in
 * the licence that the owner signed; control cannot read them.
 * @returns the object, which is also the name of its case
 * @throws {MillraceError} E_STATE (the object can still be completed), E_CONFLICT (it has a case), E_FORBIDDEN
 */
export async function reportFailure(
  session: Session,
  { object, licence: id }: Pick<PrintView, 'object' | 'licence'>,
  { reason, ...shown }: { readonly reason: CaseReason } & CaseEvidence,
): Promise<string> {
  if (object === undefined) throw new MillraceError('E_STATE', 'the print has used no object');
  const { api, directory } = session;
  let sealed: Uint8Array | undefined;
  if (shown.text !== undefined || shown.photo !== undefined) {
    const { document, credential } = await api.licence(id);
    const signer = fromBase64(credential);
    const owner = partyOf(await verifyCredential(signer, directory));
    const { body } = await verifyLicence({ transaction: fromBase64(document), credential: signer }, owner, directory);
    sealed = await sealEvidence(body.telemetryKey, { installation: directory.installation, object }, shown);
  }
  const report = { type: 'case.report', object, reason, evidence: sealed && sha256(sealed) } as const;
  const { bytes } = await signNew(session, report);
  await api.submit(bytes, sealed === undefined ? {} : { evidence: sealed });
  return object;
}

/**
 * Signs the owner's decision on a case. A credit makes one more object of the licence possible; the failed one is
 * final. So it is signed only on a report that an operator of the licence's holder, or of a former one, has signed,
 * whatever control shows.
 * @throws {MillraceError} E_STATE (decided already), E_FORBIDDEN, E_QUOTA; for a credit also as `signedLicence` and
 *   `verifyOrder`
 */
export async function decideCase(
  session: Session,
  { object, report, credential }: Pick<CaseView, 'object' | 'report' | 'credential'>,
  { credit, note }: { readonly credit: boolean; readonly note?: string | undefined },
): Promise<void> {
  const read = fromBase64(report);
  const body = readTransaction(read);
  if (body.type !== 'case.report' || body.object !== object)
    throw new MillraceError('E_INPUT', 'control shows the report of another object');
  if (credit) {
    const licence = await signedLicence(session, licenceOf(object));
    await verifyOrder(licence, { transaction: read, credential: fromBase64(credential) }, session.directory, 'begun');
  }
  const decision = { type: 'case.decide', object, report: sha256(read), credit, note } as const;
  await session.api.submit((await signNew(session, decision)).bytes);
}

/**
 * Opens the text and photo of a case, which only the owner of the design can.
 * @throws {MillraceError} E_SEAL (sealed to somebody else), E_INPUT (not what the holder signed)
 */
export async function openCase(
  session: Session,
  { object, report, evidence }: Pick<CaseView, 'object' | 'report' | 'evidence'>,
): Promise<CaseEvidence | undefined> {
  if (!evidence) return undefined;
  const sealed = await session.api.caseEvidence(object);
  const body = readTransaction(fromBase64(report));
  if (body.type !== 'case.report' || body.evidence === undefined || !equalBytes(sha256(sealed), body.evidence))
    throw new MillraceError('E_INPUT', 'the evidence is not what the holder signed');
  const binding = { installation: session.directory.installation, object };
  return withSealingKey(session.user, (key) => openEvidence(key, binding, copyBytes(sealed)));
}
