import { type Bytes, copyBytes, equalBytes, toHex } from '@millrace/base';
import {
  type Permit,
  type PermitRequest,
  requireSameVisit,
  sha256,
  type TransactionOf,
  type VisitingSpool,
  wantsCertified,
} from '@millrace/protocol';
import { type Documents, unfit } from './documents.ts';
import type { RecognisedParty } from './licence.ts';

/** The documents that a machine of another cloud has shown, behind the event that permits its object. */
const visitDocuments = ['visa', 'visit.request', 'permit-key.register of the other cloud'] as const;

/** Behind them, if the licence wants a certified material: who signed for the machine's spool. */
const spoolSigners = ['operator’s credential', 'supplier’s credential'] as const;

/** The documents that a visit has behind those of every permit. */
export function visitEvidence(request: PermitRequest, terms: TransactionOf<'licence.grant'>): readonly string[] {
  const stated = request.load !== undefined && wantsCertified(terms, request.material);
  return stated ? [...visitDocuments, ...spoolSigners] : visitDocuments;
}

/**
 * Verifies that the machine's cloud and the holder have agreed to the visit: the other administrator → permit key →
 * visa; the holder → `visit.request`.
 * @returns with what the machine's spool is verified
 * @throws {MillraceError} E_EVIDENCE, E_SIGNATURE, E_AUTH, E_VISA, E_REPLAY
 */
export async function proveVisit(
  of: {
    readonly cloud: RecognisedParty;
    readonly permit: Permit;
    readonly request: PermitRequest;
    readonly terms: TransactionOf<'licence.grant'>;
    readonly holder: Bytes;
    readonly shown: readonly Bytes[];
  },
  documents: Documents,
): Promise<VisitingSpool> {
  const { cloud, permit, request, terms } = of;
  const there = documents.ofCloud(cloud);
  const [visaBytes, requestBytes, registration, operator, supplier] = of.shown as [Bytes, Bytes, Bytes, Bytes?, Bytes?];
  const { publicKey } = await there.permitKey(registration, cloud.adminKey);
  const visa = await there.visa(visaBytes, copyBytes(publicKey));
  const asked = await there.transaction(requestBytes, of.holder, 'visit.request');
  requireSameVisit(visa, asked);
  const fits =
    visa.cloud === documents.installation &&
    visa.print === permit.print &&
    visa.licence === toHex(terms.id) &&
    visa.machine === permit.machine &&
    equalBytes(visa.run, request.run) &&
    equalBytes(visa.request, sha256(requestBytes));
  if (!fits) throw unfit('the visa is of another print, machine or run');
  const signers = operator && supplier && { operator, supplier };
  return { cloud: cloud.installation, load: visa.load, signers };
}
