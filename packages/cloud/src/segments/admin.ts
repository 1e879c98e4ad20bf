import type { RecordStore } from '@millrace/stores';
import { CellStore, type PointsPool } from '@millrace/vault';
import { SeenEpoch } from '../node/rollback-guard.ts';
import type { SegmentsStores } from './stores.ts';

// Access to a segments node's stores while the node is stopped.

/** @param points the caller closes it */
export function openCells({ cells }: SegmentsStores, points: PointsPool): CellStore {
  return new CellStore(cells, points);
}

/** Records that the vault has reached `epoch` without a message to the node. */
export async function noteEpoch({ records }: SegmentsStores, epoch: number): Promise<void> {
  await (await SeenEpoch.open(records)).note(epoch);
}

/** Makes the node accept any epoch that the keys node begins next. @param records records of the node */
export function forgetEpoch(records: RecordStore): Promise<void> {
  return SeenEpoch.forget(records);
}
