import { bytesOf, hexOf } from '@millrace/base';
import { caseReasons, objectName } from '@millrace/protocol';
import { z } from 'zod';

const bytes = z.instanceof(Uint8Array);
const id = hexOf(16);
const uint = z.number().int().nonnegative();

/** A signed document of a case, and whether the ledger and the mail have it. */
const caseDocument = z.strictObject({ transaction: bytes, credential: bytes, announced: z.boolean() });

export const caseSchema = z.strictObject({
  object: objectName,
  print: id,
  licence: id,
  design: id,
  owner: id,
  holder: id,
  reason: z.enum(caseReasons),
  created: uint,
  state: z.enum(['open', 'credited', 'denied']),
  /** SHA-256 of the sealed evidence. */
  evidence: bytesOf(32).optional(),
  report: caseDocument,
  decision: caseDocument.optional(),
  /** Credited by the licence's policy: `report` is the machine's, with its registration. There is no decision. */
  byPolicy: z.literal(true).optional(),
});

export type CaseRecord = z.output<typeof caseSchema>;
