import type { MillraceError } from '@millrace/base';
import type { RecordStore } from '@millrace/stores';
import type { MailClient } from '../node/mail-client.ts';
import type { Table } from '../node/table.ts';
import type { DesignRepository } from './designs.ts';
import type { Placements } from './placements.ts';
import type { StagedSegments } from './staged-segments.ts';

/** What is written down of a job, so that a restarted node continues it. */
export interface IngestRecord {
  readonly design: string;
  /** The segments are in the vault. Their staging copies may be gone: a restarted node does not fetch them again. */
  readonly stored?: boolean | undefined;
}

/** How one kind of upload gets into the vault. Every method may be repeated: done twice, it changes nothing more. */
export interface IngestJob<R extends IngestRecord> {
  /** For the log. */
  readonly name: string;
  readonly pending: Table<R>;
  /** Moves the staged segments into the vault. */
  ingest(record: R, signal: AbortSignal): Promise<void>;
  /** Tells the other nodes. The staging copies are wiped before. */
  complete(id: string, record: R): Promise<void>;
  /** Tells the other nodes that the upload is refused: another attempt would not help. */
  refuse(id: string, record: R, error: MillraceError, signal: AbortSignal): Promise<void>;
}

export interface IngestModules {
  readonly store: RecordStore;
  readonly designs: DesignRepository;
  readonly staged: StagedSegments;
  readonly placements: Placements;
  readonly mail: MailClient;
}
