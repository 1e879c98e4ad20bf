import { hexOf, MillraceError } from '@millrace/base';
import {
  activeLicence,
  type LicenceStatus,
  licenceStatusSchema,
  numberOf,
  objectName,
  readTransaction,
  type TransactionOf,
} from '@millrace/protocol';
import { z } from 'zod';

const bytes = z.instanceof(Uint8Array);
const id = hexOf(16);
const uint = z.number().int().nonnegative();
const attested = { transaction: bytes, credential: bytes };

export const licenceSchema = z.strictObject({
  licence: id,
  design: id,
  /** Organisations, or key names of parties without one. */
  owner: id,
  holder: id,
  objects: uint,
  ...attested,
  /** Sealed licence secret; removed when it has been mailed. */
  pending: bytes.optional(),
  /** The keys node lost its secret when an older backup was restored, or could not open it. */
  lost: z.boolean().optional(),
  /** Id of the restore, until the owner has stated how many objects are left. */
  suspended: id.optional(),
  /** The newest restore, and the number of objects that were permitted by its backup. */
  restored: z.strictObject({ restore: id, used: uint }).optional(),
  /** Objects up to this number count as permitted, by the owner's statement after a restore. */
  floor: uint.optional(),
  /** When the owner dated the newest of these statements, ms since 1970. It includes earlier credits. */
  stated: uint.optional(),
  /** Status set by the owner's statements. */
  status: licenceStatusSchema.optional(),
  /** Failed objects that the owner has credited. Each makes one more object possible. */
  credits: z.array(objectName),
  /** The newest statement, and whether it is in the ledger and in the mail to both proactive nodes. */
  statement: z.strictObject({ id, ...attested, announced: z.boolean() }).optional(),
  /** The design's approvers: names of their keys, and of the parties for which these act. */
  approvers: z.array(z.strictObject({ key: id, party: id })).optional(),
  /** Approvals, extensions and transfers, and whether each is in the ledger and in the mail. */
  amendments: z
    .array(
      z.strictObject({
        ...{ id, ...attested, announced: z.boolean() },
        /** An approval whose signer control has verified to be a designer of the owner. */
        byDesigner: z.literal(true).optional(),
      }),
    )
    .optional(),
});
export type LicenceRecord = z.output<typeof licenceSchema>;

/** The licence as its owner signed it. @throws {MillraceError} E_STORE */
export function readLicence(record: LicenceRecord): TransactionOf<'licence.grant'> {
  const known = grants.get(record);
  if (known !== undefined) return known;
  const terms = readTransaction(record.transaction);
  if (terms.type !== 'licence.grant') throw new MillraceError('E_STORE', 'the licence record holds no licence');
  grants.set(record, terms);
  return terms;
}

/** Records do not change once they are read, so each is decoded once. */
const grants = new WeakMap<LicenceRecord, TransactionOf<'licence.grant'>>();

/** Number of objects that may be made: those granted, and one for each that the owner has credited. */
export function allowedObjects({ objects, credits }: Pick<LicenceRecord, 'objects' | 'credits'>): number {
  return objects + credits.length;
}

/**
 * Whether the owner's statement of the objects left includes a credit: the proactive nodes would add no object for it
 * (`ResumeRepository.includes`).
 */
export function isIncluded({ stated }: Pick<LicenceRecord, 'stated'>, credit: { readonly issued: number }): boolean {
  return stated !== undefined && credit.issued <= stated;
}

/**
 * Whether the credit of an object may repeat one that a restore has lost. The object that it allows may have been made
 * then, which only the owner knows.
 */
export function mayRepeat({ restored, credits }: LicenceRecord, object: string): boolean {
  return restored !== undefined && numberOf(object) <= restored.used && !credits.includes(object);
}

export function amendmentsOf({ amendments = [] }: LicenceRecord) {
  return amendments.map(({ transaction, credential }) => ({ transaction, credential }));
}

/** The name of a key, if it is an approver's. */
export function approverIn({ approvers }: LicenceRecord, name: string): string | undefined {
  return approvers?.find(({ key }) => key === name)?.key;
}

export function statusOf({ status }: LicenceRecord): LicenceStatus {
  return status ?? activeLicence;
}
