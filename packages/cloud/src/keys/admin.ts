import type { RecordStore } from '@millrace/stores';
import { resetEpoch as resetPlaybookEpoch } from '@millrace/vault';
import { licenceSecrets } from './licences.ts';
import { type KeysStores, openPlaybook } from './stores.ts';

// Access to a keys node's stores while the node is stopped.

/** Any value works here, because only sweeps use the density. */
const ANY_DENSITY = 50;

/** Ids of the designs whose keys the node holds. */
export async function designsHeld(stores: KeysStores): Promise<Set<string>> {
  const playbook = await openPlaybook(stores, ANY_DENSITY);
  try {
    return new Set(playbook.designs().map(({ design }) => design));
  } finally {
    await playbook.close();
  }
}

/** Ids of the licences whose secrets the node holds. @param records records of the node */
export async function licencesHeld(records: RecordStore): Promise<Set<string>> {
  const held = new Set<string>();
  for await (const [id] of licenceSecrets(records).list()) held.add(id);
  return held;
}

/** The keys of the present epoch are lost: the playbook continues in `epoch`, in which every cell is missing. */
export async function resetEpoch({ playbook, epochSlots, wrapper }: KeysStores, epoch: number): Promise<void> {
  await resetPlaybookEpoch({ log: playbook, epochSlots, wrapper, epoch });
}
