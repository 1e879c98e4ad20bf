import { bytesOf } from '@millrace/base';
import { z } from 'zod';
import { common } from './document-fields.ts';
import { caseReasons, objectName } from './shapes.ts';

// Signed documents of a failure case (cases.ts). An object has at most one case.

/** Maximum number of credited objects of a licence: the machine gets the document behind each. */
export const MAX_CREDITS = 200;

/**
 * The owner credits, by the licence itself, objects of which a machine that the licence names reports that it failed
 * early.
 */
export const creditPolicySchema = z.strictObject({
  /** Only objects that failed with fewer executed lines. */
  below: z.number().int().min(1).max(1_000_000),
  /** Maximum number of objects of the licence that are credited so. */
  most: z.number().int().min(1).max(MAX_CREDITS),
});
export type CreditPolicy = z.output<typeof creditPolicySchema>;

/** The holder of the licence reports that an object cannot be used. */
export const reportCase = z.strictObject({
  type: z.literal('case.report'),
  ...common,
  object: objectName,
  reason: z.enum(caseReasons),
  /** SHA-256 of the attachment `evidence`: text and photo, sealed to the owner (case-evidence.ts). */
  evidence: bytesOf(32).optional(),
});

/**
 * The owner decides on a report. A credit makes one more object of the licence possible, and the failed one final: it
 * can neither be resumed nor completed.
 */
export const decideCase = z.strictObject({
  type: z.literal('case.decide'),
  ...common,
  object: objectName,
  /** SHA-256 of the report, so that the decision is on what the owner has read. */
  report: bytesOf(32),
  credit: z.boolean(),
  note: z.string().max(300).optional(),
});
