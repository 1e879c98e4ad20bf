import { join } from 'node:path';
import { hexOf, MillraceError, parse } from '@millrace/base';
import { objectName } from '@millrace/protocol';
import { z } from 'zod';
import { moveDurably, readIfThere, writeDurably } from './files.ts';

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

/** The one unfinished print of this machine, in data/run.json. */
export interface RunStore {
  /** @throws {MillraceError} E_STORE when the file is damaged */
  read(): Promise<RunRecord | undefined>;
  write(record: RunRecord): Promise<void>;
  clear(): Promise<void>;
}

export function openRunStore(folder: string): RunStore {
  const path = join(folder, 'run.json');
  return {
    read: async () => {
      const bytes = await readIfThere(path);
      if (bytes === undefined) return undefined;
      let json: unknown;
      try {
        json = JSON.parse(new TextDecoder().decode(bytes));
      } catch (cause) {
        throw new MillraceError('E_STORE', `${path} is damaged; remove it if no print was running`, { cause });
      }
      return parse(runSchema, json, path, 'E_STORE');
    },
    write: (record) => writeDurably(path, `${JSON.stringify(record)}\n`),
    clear: () => moveDurably(path),
  };
}
