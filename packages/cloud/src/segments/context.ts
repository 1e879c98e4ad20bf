import type { Logger, Mutex } from '@millrace/base';
import type { Directory } from '@millrace/protocol';
import type { CellStore } from '@millrace/vault';
import type { Outbound } from '../node/proactive.ts';
import type { RollbackGuard, SeenEpoch } from '../node/rollback-guard.ts';
import type { OpeningOrder } from '../streaming/opening-order.ts';
import type { DesignRepository } from './designs.ts';
import type { IngestQueue } from './ingest-queue.ts';
import type { Placements } from './placements.ts';
import type { RepairRecord } from './repair-design.ts';
import type { StagedSegments } from './staged-segments.ts';
import type { StoreRecord } from './store-design.ts';
import type { SegmentsStreams } from './streams.ts';
import type { VaultKeyRing } from './vault-key-ring.ts';

/** State shared by the parts of the segments node. Built once, in segments-node.ts. */
export interface SegmentsContext {
  readonly directory: Directory;
  readonly designs: DesignRepository;
  readonly cells: CellStore;
  readonly vaultKeys: VaultKeyRing;
  readonly staged: StagedSegments;
  readonly storing: { readonly queue: IngestQueue<StoreRecord>; readonly placements: Placements };
  readonly repairing: { readonly queue: IngestQueue<RepairRecord>; readonly placements: Placements };
  readonly streams: SegmentsStreams;
  readonly openings: OpeningOrder;
  readonly seen: SeenEpoch;
  readonly guard: RollbackGuard;
  readonly outbound: Outbound;
  readonly logger: Logger;
  /** Serializes all changes of cells, in the order of the mail. */
  readonly vault: Mutex;
}
