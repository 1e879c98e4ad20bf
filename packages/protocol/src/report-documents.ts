import { bytesOf, bytesUpTo } from '@millrace/base';
import { z } from 'zod';
import { common, materialName } from './document-fields.ts';
import { haltFacts } from './halt.ts';
import { odometerSchema, usedSchema } from './material-documents.ts';
import { objectName } from './shapes.ts';

/** Maximum bytes of the part of a report that is sealed to the owner. */
export const MAX_SEALED_FACTS = 4_096;

/** Maximum number of photos in one report. */
export const MAX_REPORTED_PHOTOS = 8;

/** A machine reports on the object that it makes. */
export const machineReport = z.strictObject({
  type: z.literal('report'),
  ...common,
  object: objectName,
  run: bytesOf(16),
  event: z.enum(['started', 'progressed', 'completed', 'failed']),
  /** Of the machine when the object has ended; not earlier, because it would show the progress. */
  odometer: odometerSchema.optional(),
  used: usedSchema.optional(),
  facts: z.strictObject({
    serial: z.string(),
    material: materialName,
    segments: z.number().int().nonnegative(),
    /** HMAC of the executed bytes (`completed` only); equals the manifest's when every byte was executed. */
    contentMac: bytesOf(32).optional(),
    code: z.string().max(40).optional(),
    ...haltFacts,
    /** Of a refused permit: the machine has made the object before, in another run (`failed` only). */
    made: z.literal(true).optional(),
    /** Executed lines, if they are fewer than the licence's credit policy asks for (`failed` only). */
    lines: z.number().int().nonnegative().optional(),
    /** Position and details of a failure, sealed to the owner (owner-state.ts). */
    sealed: bytesUpTo(MAX_SEALED_FACTS).optional(),
    /** SHA-256 of photos that were taken since the report before, each sealed to the owner (machine-photo.ts). */
    photos: z.array(bytesOf(32)).min(1).max(MAX_REPORTED_PHOTOS).optional(),
  }),
});
