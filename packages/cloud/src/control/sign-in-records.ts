import { hexOf } from '@millrace/base';
import { z } from 'zod';
import type { TableOptions } from '../node/table.ts';

const id = hexOf(16);

/** A sign-in at the console. */
export const signInEntrySchema = z.strictObject({
  /** Of the signed request. */
  id,
  key: id,
  organisation: id,
  at: z.number().int().nonnegative(),
  /** IP address from which the request came. */
  address: z.string(),
  /** The key was revoked. */
  refused: z.boolean(),
  /** Of a company sign-in without a key: e-mail address. `key` is the person then, and `id` random. */
  name: z.string().optional(),
});
export type SignInEntry = z.output<typeof signInEntrySchema>;

export const signInIndexes: TableOptions<SignInEntry>['indexes'] = {
  organisation: ({ organisation, at }) => [{ group: organisation, order: at }],
  at: ({ at }) => [{ group: 'all', order: at }],
};
