import { hexOf } from '@millrace/base';
import { rehearsalRules } from '@millrace/protocol';
import { z } from 'zod';
import type { TableOptions } from '../node/table.ts';

const bytes = z.instanceof(Uint8Array);
const id = hexOf(16);
const uint = z.number().int().nonnegative();

export const rehearsalSchema = z.strictObject({
  rehearsal: id,
  licence: id,
  design: id,
  machine: id,
  /** As in the licence. */
  owner: id,
  holder: id,
  created: uint,
  /** Latest time at which the machine takes it, by control's clock. */
  startBy: uint,
  state: z.enum(['queued', 'answered', 'refused']),
  /** What the machine has signed, and the signed answer. */
  outcome: z.enum(['fits', 'does-not-fit']).optional(),
  rules: z.array(z.enum(rehearsalRules)).optional(),
  policy: z.boolean().optional(),
  result: bytes.optional(),
  /** Why control or the machine has refused to judge. */
  code: z.string().optional(),
  /** `rehearsal.request`, and the credential of its signer. */
  transaction: bytes,
  credential: bytes,
});
export type RehearsalRecord = z.output<typeof rehearsalSchema>;

export const rehearsalIndexes: NonNullable<TableOptions<RehearsalRecord>['indexes']> = {
  party: ({ owner, holder, created }) => [...new Set([owner, holder])].map((group) => ({ group, order: created })),
  queued: ({ state, machine, created }) => (state === 'queued' ? [{ group: machine, order: created }] : []),
  /** Rehearsals of a licence on a machine. */
  pair: ({ licence, machine }) => [{ group: `${licence}/${machine}` }],
};
