import { hexOf } from '@millrace/base';
import { odometerSchema } from '@millrace/protocol';
import { z } from 'zod';
import type { TableOptions } from '../node/table.ts';

const bytes = z.instanceof(Uint8Array);
const id = hexOf(16);
const uint = z.number().int().nonnegative();

export const materialSchema = z.strictObject({
  /** Id of the spool: the id of its certificate. */
  spool: id,
  organisation: id,
  /** `keyName` of the signer. */
  signer: id,
  certificate: bytes,
  /** Credential of the signer when control took the certificate. */
  supplier: bytes,
  created: uint,
});
export type MaterialRecord = z.output<typeof materialSchema>;

export const spoolSchema = z.strictObject({
  spool: id,
  /** The operators' newest statement, and what it says. */
  machine: id.optional(),
  number: uint,
  by: id,
  /** The operator's organisation; the key itself if it belongs to none. */
  party: id,
  at: uint,
  /** The newest `spool.load`, with the credentials of its signer and of its certificate's. */
  load: bytes,
  operator: bytes,
  supplier: bytes.optional(),
  certifiedBy: z.strictObject({ organisation: id, name: z.string() }).optional(),
  name: z.string(),
  serial: z.string().optional(),
  grams: uint.optional(),
  /** Grams that machines have reported, each object rounded up. */
  used: uint,
});
export type SpoolRecord = z.output<typeof spoolSchema>;

export const spoolIndexes: NonNullable<TableOptions<SpoolRecord>['indexes']> = {
  machine: ({ machine }) => (machine === undefined ? [] : [{ group: machine }]),
  party: ({ party, at }) => [{ group: party, order: at }],
};

/** An operator's statement that a spool is loaded on a machine, or no longer. Kept as it was signed. */
export const spoolStatementSchema = z.strictObject({
  /** Id of the transaction. */
  statement: id,
  spool: id,
  machine: id,
  /** The party that has loaded the spool. */
  party: id,
  at: uint,
  /** Grams of the spool that machines had reported before. */
  used: uint,
  /** `spool.load` or `spool.unload`, and the credential of its signer; empty for the administrator. */
  transaction: bytes,
  credential: bytes,
  /** Credential of the signer of the certificate in `spool.load`. */
  supplier: bytes.optional(),
});
export type SpoolStatementRecord = z.output<typeof spoolStatementSchema>;

/** Statements on the spools of one machine that one party has loaded. */
export const statementGroup = (machine: string, party: string): string => `${machine}/${party}`;

export const spoolStatementIndexes: NonNullable<TableOptions<SpoolStatementRecord>['indexes']> = {
  machine: ({ machine, at }) => [{ group: machine, order: at }],
  party: ({ machine, party, at }) => [{ group: statementGroup(machine, party), order: at }],
};

export const odometerRecordSchema = z.strictObject({
  machine: id,
  /** The machine's newest statement, and when control got it. */
  last: odometerSchema,
  at: uint,
  /** An object was permitted, and no report says that it has ended. Meanwhile the odometer may advance. */
  running: z.boolean(),
  /** By the reports in the ledger: objects that ended, and material of objects with a stated spool. */
  counted: z.strictObject({ ended: uint, metres: uint, grams: uint }),
  /** The newest report that was counted. */
  report: id.optional(),
  alarm: z
    .strictObject({ alarm: id, at: uint, reason: z.string(), before: odometerSchema, after: odometerSchema.optional() })
    .optional(),
  /** Owners who have cleared the alarm. */
  cleared: z.array(id),
});
export type OdometerRecord = z.output<typeof odometerRecordSchema>;

export const materialIndexes: NonNullable<TableOptions<MaterialRecord>['indexes']> = {
  organisation: ({ organisation, created }) => [{ group: organisation, order: created }],
  signer: ({ signer, created }) => [{ group: signer, order: created }],
};
