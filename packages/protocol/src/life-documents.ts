import { bytesOf } from '@millrace/base';
import { z } from 'zod';
import { common, identifier } from './document-fields.ts';
import { displayText, objectName } from './shapes.ts';

// Signed documents of a part's life after its completion (life.ts). Each names the one before it, so that the parties'
// signatures fix the order.

/** Results of an inspection of a part. */
const inspectionResults = ['passed', 'failed'] as const;
export type InspectionResult = (typeof inspectionResults)[number];

/** Reasons for which a part is taken out of use. */
export const retirementReasons = ['worn', 'scrapped', 'recycled', 'lost', 'recalled', 'other'] as const;
export type RetirementReason = (typeof retirementReasons)[number];

/** Maximum number of inspectors that the owner of a part names. */
const MAX_INSPECTORS = 10;

const party = z.union([bytesOf(33), identifier]);

const life = {
  ...common,
  object: objectName,
  /** SHA-256 of the newest document of the part's life; absent in the first. */
  after: bytesOf(32).optional(),
};

/** The part's owner offers the part to another party, which owns it from its acceptance on. */
const transferObject = z.strictObject({
  type: z.literal('object.transfer'),
  ...life,
  /** The new owner: an organisation, by its identifier, or one secp256k1 key alone. */
  to: party,
});

/** The other party accepts the part. */
const acceptObject = z.strictObject({
  type: z.literal('object.accept'),
  ...common,
  object: objectName,
  /** SHA-256 of the offer. */
  transfer: bytesOf(32),
});

/** The part's owner names who else may sign inspections. Replaces the earlier list; a new owner begins with none. */
const appointInspectors = z.strictObject({
  type: z.literal('object.appoint'),
  ...life,
  inspectors: z.array(party).max(MAX_INSPECTORS),
});

/** The part's owner, or an inspector that it has named, states the result of an inspection. */
const inspectObject = z.strictObject({
  type: z.literal('object.inspect'),
  ...life,
  result: z.enum(inspectionResults),
  /** What was done, such as the number of a standard. */
  method: displayText(200).optional(),
  /** SHA-256 of the inspection report, which the parties keep. */
  document: bytesOf(32).optional(),
});

/** The part's owner takes the part out of use. Nothing follows. */
const retireObject = z.strictObject({
  type: z.literal('object.retire'),
  ...life,
  reason: z.enum(retirementReasons),
});

/** Schemas of all documents of a part's life. */
export const lifeDocuments = [transferObject, acceptObject, appointInspectors, inspectObject, retireObject] as const;
