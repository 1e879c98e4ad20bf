import { join } from 'node:path';
import { type Clock, type Closable, Closer, type Metrics, noMetrics, systemClock } from '@millrace/base';
import type { Cassandra } from '@millrace/cluster';
import { type Log, openLmdb, type RecordStore } from '@millrace/stores';
import { type KeyWrapper, openFileKeyWrapper, openSlots, Playbook, type Slots } from '@millrace/vault';
import { nodeFiles } from '../config.ts';
import { openNodeCluster, requireFiles } from '../node/cluster.ts';
import type { ClusterSettings } from '../settings.ts';
import { openSealedState } from './sealed-state.ts';

/** The stores of a keys node. */
export interface KeysStores {
  readonly records: RecordStore;
  readonly playbook: Log;
  readonly epochSlots: Slots;
  readonly designSlots: Slots;
  readonly wrapper: KeyWrapper;
  readonly boxes: { readonly mail: Slots; readonly attachments: Slots };
}

/**
 * Opens the stores of a keys node. Keys that have to be destroyed are in slots in its folder; records and playbook are
 * there too, or sealed in a cluster (docs/adr/0098).
 * @param folder folder of the node, which no running process uses
 * @param cluster where records and playbook are, if not in the folder
 * @throws {MillraceError} E_CONFIG, E_STATE, E_UNAVAILABLE, E_TIMEOUT; E_SEAL if another node sealed the state
 */
export async function openKeysStores(
  folder: string,
  cluster?: ClusterSettings,
  { clock = systemClock, metrics = noMetrics, guard }: OpenKeysOptions = {},
): Promise<KeysStores & Closable> {
  const closer = new Closer();
  const data = join(folder, nodeFiles.data);
  const slots = async (file: string) => closer.add(await openSlots(join(data, file)));
  try {
    if (cluster === undefined) await requireFiles(folder);
    const wrapper = closer.add(await openFileKeyWrapper(join(folder, nodeFiles.kek)));
    const inCluster = async (settings: ClusterSettings) =>
      sealState(await openNodeCluster(folder, settings, clock, metrics, guard && { guard }), wrapper);
    const state = closer.add(cluster === undefined ? openLmdb({ path: data }) : await inCluster(cluster));
    return {
      records: state.records('records'),
      playbook: state.log('playbook'),
      wrapper,
      epochSlots: await slots('epoch.keys'),
      designSlots: await slots('design.keys'),
      boxes: { mail: await slots(nodeFiles.boxes.mail), attachments: await slots(nodeFiles.boxes.attachments) },
      close: () => closer.close(),
    };
  } catch (error) {
    await closer.close();
    throw error;
  }
}

export interface OpenKeysOptions {
  readonly clock?: Clock;
  readonly metrics?: Metrics;
  /** Called before every request to the cluster; what it throws refuses the request. */
  readonly guard?: () => void;
}

type State = Pick<Cassandra, 'records' | 'log'> & Closable;

/** The state of a keys node in an opened cluster, which closes with it. @throws {MillraceError} E_SEAL; as the cluster */
export async function sealState(engine: State, wrapper: KeyWrapper): Promise<State> {
  try {
    const sealed = await openSealedState(engine.records('data-key'), wrapper);
    return {
      records: (name) => sealed.records(engine.records(name)),
      log: (name) => sealed.log(engine.log(name), name),
      close: async () => {
        await engine.close();
        sealed.close();
      },
    };
  } catch (error) {
    await engine.close();
    throw error;
  }
}

/** @param density the share of cells that are real, in percent */
export function openPlaybook(
  { playbook, epochSlots, designSlots, wrapper }: KeysStores,
  density: number,
): Promise<Playbook> {
  return Playbook.open({ log: playbook, epochSlots, designSlots, wrapper, density });
}
