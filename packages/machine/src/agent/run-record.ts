import { join } from 'node:path';
import { hexOf } from '@millrace/base';
import { MAX_SEALED_FACTS, objectName } from '@millrace/protocol';
import { z } from 'zod';
import { type SignedFile, type StateSigner, signedFile } from './signed-file.ts';

const uint = z.number().int().nonnegative();

const runSchema = z.strictObject({
  print: hexOf(16),
  /** Created when the run begins. A resumed stream keeps it. */
  run: hexOf(16),
  /** Known once a permit has arrived. */
  object: objectName.optional(),
  /** Set, and durable, before the first byte reaches the machine. */
  started: z.boolean(),
  /** Segments taken by the machine, as of the last update. */
  segments: uint,
  /** For an object of another cloud: the visit, and that cloud. */
  visit: z.strictObject({ visit: hexOf(16), cloud: hexOf(16) }).optional(),
  /** For an object that is made from a job package: its licence. */
  package: hexOf(16).optional(),
  /** The machine's position at that time, sealed to the owner, for the report of an agent that was killed. */
  sealed: z
    .string()
    .max(2 * MAX_SEALED_FACTS)
    .regex(/^([0-9a-f]{2})*$/)
    .optional(),
});

/** State of a print that survives a crash of the agent. Counts and names only, nothing of the design. */
export type RunRecord = z.output<typeof runSchema>;

/** The one unfinished print of this machine, in data/run.state, signed. */
export type RunStore = SignedFile<RunRecord>;

export function openRunStore(folder: string, signer: StateSigner): RunStore {
  return signedFile(join(folder, 'run.state'), signer, {
    label: 'run',
    schema: runSchema,
    remedy: 'remove it; an object that was begun is not begun again',
  });
}
