import type { MillraceError } from '@millrace/base';
import type { RecordStore } from '@millrace/stores';
import type { MailClient } from '../node/mail-client.ts';
import type { Table } from '../node/table.ts';
import type { DesignRepository } from './designs.ts';
import type { Placements } from './placements.ts';
import type { StagedSegments } from './staged-segments.ts';

/** Durable state of a job, from which a restarted node continues. */
export interface IngestRecord {
  readonly design: string;
  /**
   * Whether the segments are in the vault. If so, a restarted node does not fetch them again: their staging copies may
   * be gone.
   */
  readonly stored?: boolean | undefined;
}

/** The steps of one kind of upload. Every method is idempotent. */
export interface IngestJob<R extends IngestRecord> {
  /** For the log. */
  readonly name: string;
  readonly pending: Table<R>;
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
