import { hexOf } from '@millrace/base';
import { nodeId, nodeRoles } from '@millrace/protocol';
import { SEGMENT_BYTES } from '@millrace/vault';
import { z } from 'zod';

// `node.json`: what an installation may set, and the defaults.

/** Limits of what maintenance may spend; a field that is absent sets no limit. */
export const budgetSchema = z.strictObject({
  /** Bytes of cells renewed a second. */
  bytesPerSecond: z.number().positive().optional(),
  /** Of one core of the segments node: 0.25 is a quarter, 2 are two cores. */
  coreShare: z.number().positive().max(1024).optional(),
  /** In the currency of the prices; a month has 30 days. */
  moneyPerMonth: z.number().positive().optional(),
  /** P, table 2: hashing 100 million hashes a second for an hour, and a gigabyte on the wire. */
  prices: z
    .strictObject({ hash100MHour: z.number().min(0), gigabyte: z.number().min(0) })
    .default({ hash100MHour: 0.05, gigabyte: 0.087 }),
});
export type BudgetSettings = z.output<typeof budgetSchema>;

export interface MaintenanceSettings {
  /** How often every cell is to be renewed. */
  readonly periodMs: number;
  readonly budget?: BudgetSettings | undefined;
}

/** How much may be staged at a time. */
export const stagingSchema = z.strictObject({
  designsPerOwner: z.number().int().min(1),
  bytesPerOwner: z.number().int().min(SEGMENT_BYTES),
  /** All owners together. */
  bytes: z.number().int().min(SEGMENT_BYTES),
});
export type StagingSettings = z.output<typeof stagingSchema>;

export const DEFAULT_STAGING: StagingSettings = {
  designsPerOwner: 16,
  bytesPerOwner: 16 * 2 ** 30,
  bytes: 64 * 2 ** 30,
};

const boxPeriod = z.strictObject({ periodMs: z.number().int().min(100), retentionMs: z.number().int().min(0) });

export const settingsSchema = z.strictObject({
  role: z.enum(nodeRoles),
  id: nodeId,
  /** Fixed at installation: the directory has to carry this administrator's signature. */
  installation: hexOf(16),
  adminKey: hexOf(33),
  /** Keys node: how often every cell is renewed, the percentage of cells that are real, and the budget. */
  maintenance: z
    .strictObject({
      periodMs: z.number().int().min(100),
      density: z.number().int().min(1).max(100),
      budget: budgetSchema.optional(),
    })
    .optional(),
  /** How often box keys are replaced, and how long owners may seal to the previous one (spec/protocol.md, section 4). */
  boxes: z.strictObject({ mail: boxPeriod.optional(), attachments: boxPeriod.optional() }).optional(),
  /** Keys node: chaff hints for every 100 hints of data, in streams with sparse hints (a setting of the machine). */
  chaffPercent: z.number().int().min(0).max(100).optional(),
  /** Keys node: how often it checks the vault without being asked, ms; 0 is never. */
  checks: z
    .strictObject({
      everyMs: z.number().int().min(0),
      deepEveryMs: z.number().int().min(0),
      afterStartMs: z.number().int().min(0),
    })
    .optional(),
  /** Distribution node: how much is staged at a time. */
  staging: stagingSchema.optional(),
});

/** After every start and once an hour; every cell is read once a day. */
export const DEFAULT_CHECKS = { everyMs: 3_600_000, deepEveryMs: 86_400_000, afterStartMs: 2_000 } as const;

/**
 * A sender seals its mail again when the key is gone, so old mail keys need not stay. An attachment may lie on the owner's
 * disk until an interrupted upload is resumed, so its keys stay for a day.
 */
export const DEFAULT_BOXES = {
  mail: { periodMs: 600_000, retentionMs: 0 },
  attachments: { periodMs: 3_600_000, retentionMs: 86_400_000 },
} as const;

export const DEFAULT_MAINTENANCE = { periodMs: 120_000, density: 50 } as const;
