import { join } from 'node:path';
import { hexOf } from '@millrace/base';
import { MAX_SEALED_FACTS, objectName } from '@millrace/protocol';
import { z } from 'zod';
import { type SignedFile, type StateSigner, signedFile } from './signed-file.ts';

const uint = z.number().int().nonnegative();

const runSchema = z.strictObject({
  print: hexOf(16),
  /** Made by the agent when it began; a resumed stream carries the same. */
  run: hexOf(16),
  /** Known as soon as a permit has come. */
  object: objectName.optional(),
  /** Set, and durable, before the first byte reaches the machine. */
  started: z.boolean(),
  /** Segments that the machine was last known to have taken. */
  segments: uint,
  /** Where it was then, sealed to the owner, for the report of an agent that was killed. */
  sealed: z
    .string()
    .max(2 * MAX_SEALED_FACTS)
    .regex(/^([0-9a-f]{2})*$/)
    .optional(),
});

/** What the agent must still know of a print after it was killed. Counts and names only, nothing of the design. */
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
