import { hexOf } from '@millrace/base';
import { z } from 'zod';

const bytes = z.instanceof(Uint8Array);
const id = hexOf(16);
const uint = z.number().int().nonnegative();

const statement = {
  /** Id of the statement, and its number. */
  id,
  number: uint,
  /** `machine.settings`, and the credential of its signer. */
  transaction: bytes,
  credential: bytes,
};

/** The newest settings of one machine. */
export const settingsSchema = z.strictObject({
  machine: id,
  organisation: id,
  ...statement,
  created: uint,
  /** By the machine's report. */
  state: z.enum(['pending', 'applied', 'refused']),
  code: z.string().optional(),
  report: bytes.optional(),
  /** The settings that the machine had applied before. */
  previous: z.strictObject(statement).optional(),
});
export type SettingsRecord = z.output<typeof settingsSchema>;
