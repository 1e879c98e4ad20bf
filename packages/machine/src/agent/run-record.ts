import { join } from 'node:path';
import { hexOf } from '@millrace/base';
import { objectName } from '@millrace/protocol';
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
  /** Where the machine was last known to be. */
  segments: uint,
  bytes: uint,
  line: uint,
  layer: z.number().int(),
  filament: z.number().nonnegative(),
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
