import { MillraceError } from '@millrace/base';
import {
  type AmendedLicence,
  actsAs,
  amendLicence,
  ignoringRevocations,
  ownerParty,
  verifyCredential,
} from '@millrace/protocol';
import { readCore } from '@millrace/vault';
import type { ControlContext } from './context.ts';
import { amendmentsOf, type LicenceRecord } from './licence-records.ts';
import { requireSignerCounting } from './people.ts';

/** Licences without amendments. Records do not change once they are read, so each is decoded once. */
const asGranted = new WeakMap<LicenceRecord, AmendedLicence>();

/**
 * The licence with its amendments, by control's records.
 * @param begins whether an object begins: documents of revoked keys then have no effect
 */
export async function amended(
  { records, directory }: Pick<ControlContext, 'records' | 'directory'>,
  record: LicenceRecord,
  { begins = true }: { readonly begins?: boolean } = {},
): Promise<AmendedLicence> {
  const granted = asGranted.get(record);
  if (granted !== undefined) return granted;
  const core = readCore((await records.designs.require(record.design)).core);
  const amendments = amendmentsOf(record);
  const revoked = new Set(begins ? amendments.filter((each) => !isCounting(each)).map((each) => each.transaction) : []);
  const { approvals } = core;
  const counts = (document: Uint8Array) => !revoked.has(document as never);
  const owner = ownerParty(core);
  const designers = (record.amendments ?? []).filter((each) => each.byDesigner).map((each) => each.transaction);
  const byDesigner = (approval: Uint8Array) => designers.includes(approval as never);
  const licence = amendLicence(record.transaction, amendments, { owner, approvals, counts, byDesigner });
  // Without amendments nothing depends on revocations. A design's core does not change.
  if (amendments.length === 0) asGranted.set(record, licence);
  return licence;

  function isCounting(attested: (typeof amendments)[number]): boolean {
    try {
      requireSignerCounting(directory, attested);
      return true;
    } catch (error) {
      if (error instanceof MillraceError && error.code === 'E_REVOKED') return false;
      throw error;
    }
  }
}

/** Whether the signer of an approval is a designer of the design's owner. Verified once, when control takes it. */
export async function isByDesigner(
  { records, directory }: Pick<ControlContext, 'records' | 'directory'>,
  design: string,
  credential: Uint8Array,
): Promise<boolean> {
  const owner = ownerParty(readCore((await records.designs.require(design)).core));
  return actsAs(await verifyCredential(credential, ignoringRevocations(directory)), owner, 'designer');
}

/**
 * Checks that the ledger shows every amendment. Otherwise an object that relies on one could precede it in the ledger.
 * @throws {MillraceError} E_UNAVAILABLE while control completes an amendment
 */
export function requireAnnounced({ licence, amendments }: LicenceRecord): void {
  if (amendments?.some(({ announced }) => !announced))
    throw new MillraceError('E_UNAVAILABLE', 'an amendment of the licence is not in the ledger yet: try again', {
      data: { licence },
    });
}
