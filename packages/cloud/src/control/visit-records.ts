import { bytesOf, hexOf } from '@millrace/base';
import { z } from 'zod';
import type { TableOptions } from '../node/table.ts';

const bytes = z.instanceof(Uint8Array);
const id = hexOf(16);
const uint = z.number().int().nonnegative();

export const visitSchema = z.strictObject({
  visit: id,
  /** The cloud that has the design; the print and the licence there. */
  cloud: id,
  print: id,
  licence: id,
  machine: id,
  /** Key name of the signer. */
  visitor: id,
  created: uint,
  /** Latest time of the start, by control's clock. */
  startBy: uint,
  state: z.enum(['queued', 'admitted', 'running', 'completed', 'failed', 'refused', 'cancelled']),
  code: z.string().optional(),
  reason: z.string().optional(),
  /** `visit.request`, signed by the visitor. */
  transaction: bytes,
  /** The run of the machine that got the visa, the first visa, and the request that it answered. */
  admitted: z
    .strictObject({
      ...{ run: bytesOf(16), visa: bytes, request: bytes },
      /** The certified spool that the newest visa names. */
      spool: id.optional(),
    })
    .optional(),
});
export type VisitRecord = z.output<typeof visitSchema>;

export const visitIndexes: NonNullable<TableOptions<VisitRecord>['indexes']> = {
  visitor: ({ visitor, created }) => [{ group: visitor, order: created }],
  queued: ({ state, machine, created }) => (state === 'queued' ? [{ group: machine, order: created }] : []),
  expiring: ({ state, startBy }) =>
    state === 'queued' || state === 'admitted' ? [{ group: 'all', order: startBy }] : [],
};
