import type { MillraceError } from '@millrace/base';
import type { RecordStore } from '@millrace/stores';
import { z } from 'zod';
import type { MailClient } from '../node/mail-client.ts';
import { Table } from '../node/table.ts';
import type { DesignRepository } from './designs.ts';
import type { Placements } from './placements.ts';
import type { StagedSegments } from './staged-segments.ts';

/** Fields of the durable state of every job. Nodes that share their stores go on with each other's jobs. */
export const ingestFields = {
  design: z.string(),
  /** When the job began, wall-clock ms. Jobs are done in this order; nothing else depends on it. */
  begun: z.number().int().nonnegative().optional(),
  /**
   * Whether the segments are in the vault. If so, they are not fetched again: their staging copies may be gone.
   */
  stored: z.boolean().optional(),
  /** Kept after the job has ended, because another node may read the mail about it later. */
  ended: z.enum(['complete', 'refused']).optional(),
  claim: z
    .strictObject({
      /** Id of the node that does the job; empty if it was given back. */
      by: z.string(),
      /** One higher with each claim. */
      token: z.number().int().positive(),
      /** Raised while the node works. */
      beat: z.number().int().nonnegative(),
    })
    .optional(),
};
const ingestRecord = z.strictObject(ingestFields);
export type IngestRecord = z.output<typeof ingestRecord>;
export type IngestClaim = NonNullable<IngestRecord['claim']>;

/** Index of the jobs that have not ended, in the order in which they began. */
export const OPEN = { index: 'open', group: 'all' } as const;

/** Table of the jobs of one kind. */
export function ingestTable<R extends IngestRecord>(store: RecordStore, name: string, schema: z.ZodType<R>): Table<R> {
  return new Table(store, name, schema, {
    indexes: {
      [OPEN.index]: ({ ended, begun = 0 }) => (ended === undefined ? [{ group: OPEN.group, order: begun }] : []),
      design: ({ design }) => [{ group: design }],
    },
  });
}

/** The steps of one kind of upload. Every method is idempotent, also if two nodes do the same job. */
export interface IngestJob<R extends IngestRecord> {
  /** For the log. */
  readonly name: string;
  readonly pending: Table<R>;
  /** Whether a refused job may be asked for again. */
  readonly repeats: boolean;
  /** Moves the staged segments into the vault. */
  ingest(record: R, signal: AbortSignal): Promise<void>;
  /** Reports success to the other nodes. Called after the staging copies are wiped. */
  complete(id: string, record: R): Promise<void>;
  /** Reports to the other nodes that the upload is refused permanently. */
  refuse(id: string, record: R, error: MillraceError, signal: AbortSignal): Promise<void>;
}

export interface IngestModules {
  readonly store: RecordStore;
  readonly designs: DesignRepository;
  readonly staged: StagedSegments;
  readonly placements: Placements;
  readonly mail: MailClient;
}
