import { join } from 'node:path';
import { type Closable, Closer, systemClock } from '@millrace/base';
import type { Cassandra } from '@millrace/cluster';
import { type Log, openLmdb, type RecordStore } from '@millrace/stores';
import { type KeyWrapper, openFileKeyWrapper, openSlots, Playbook, type Slots } from '@millrace/vault';
import { nodeFiles } from '../config.ts';
import { openNodeCluster, requireFiles } from '../node/cluster.ts';
import type { ProcessModules } from '../node/modules.ts';
import type { ClusterSettings } from '../settings.ts';
import type { SlotSets } from './replicas/messages.ts';
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
  modules: Partial<Pick<ProcessModules, 'clock' | 'metrics'>> = {},
): Promise<KeysStores & Closable> {
  const closer = new Closer();
  try {
    if (cluster === undefined) await requireFiles(folder);
    const wrapper = closer.add(await openFileKeyWrapper(join(folder, nodeFiles.kek)));
    const files = () => openLmdb({ path: join(folder, nodeFiles.data) });
    const state = closer.add(
      cluster === undefined ? files() : await openKeysState({ folder, cluster, wrapper }, modules),
    );
    const { epoch, design, mail, attachments } = closer.add(await openKeysSlots(folder));
    return {
      records: state.records('records'),
      playbook: state.log('playbook'),
      wrapper,
      epochSlots: epoch,
      designSlots: design,
      boxes: { mail, attachments },
      close: () => closer.close(),
    };
  } catch (error) {
    await closer.close();
    throw error;
  }
}

/** Slots of the keys that have to be destroyed. @throws {MillraceError} E_STORE, E_READ_ONLY */
export async function openKeysSlots(folder: string): Promise<SlotSets & Closable> {
  const closer = new Closer();
  const slots = async (file: string) => closer.add(await openSlots(join(folder, nodeFiles.data, file)));
  try {
    return {
      epoch: await slots('epoch.keys'),
      design: await slots('design.keys'),
      mail: await slots(nodeFiles.boxes.mail),
      attachments: await slots(nodeFiles.boxes.attachments),
      close: () => closer.close(),
    };
  } catch (error) {
    await closer.close();
    throw error;
  }
}

/** Opens the state of a keys node in a cluster. @param guard called before each request; throws if it may not be sent */
export async function openKeysState(
  place: { readonly folder: string; readonly cluster: ClusterSettings; readonly wrapper: KeyWrapper },
  modules: Partial<Pick<ProcessModules, 'clock' | 'metrics' | 'logger'>>,
  guard?: () => void,
): Promise<KeysState> {
  const engine = await openNodeCluster(place.folder, place.cluster, { clock: systemClock, ...modules }, { guard });
  return { ...(await sealState(engine, place.wrapper)), engine };
}

type State = Pick<Cassandra, 'records' | 'log'> & Closable;
/** The sealed state, and the records of the engine below it. */
export type KeysState = State & { readonly engine: Pick<Cassandra, 'records'> };

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
