import { MillraceError, type RandomSource, systemRandom } from '@millrace/base';
import type { Store } from '@millrace/stores';
import { EpochKeys } from './epochs.ts';
import { decodeState, encodeState, STATE_KEY } from './records.ts';
import type { Slots } from './slots.ts';
import type { KeyWrapper } from './wrapper.ts';

/**
 * Continues in a new epoch after the keys of the current one were lost, as when an older state was put back. `epoch` must
 * be later than any epoch before. Its key is new. Designs keep their content keys; their cells are missing until they are
 * repaired. The playbook must not be open.
 * @param options.store the playbook's store
 * @throws {MillraceError} E_STORE
 */
export async function resetEpoch(options: {
  store: Store;
  epochSlots: Slots;
  wrapper: KeyWrapper;
  epoch: number;
  random?: RandomSource;
}): Promise<void> {
  const { store, wrapper, epoch, random = systemRandom } = options;
  const stored = await store.get(STATE_KEY);
  if (stored === undefined) throw new MillraceError('E_STORE', 'the store has no playbook');
  const { sweep: _given, ...state } = decodeState(stored);
  const epochs = new EpochKeys(options.epochSlots, wrapper, random);
  await epochs.create(epoch);
  await store.put(STATE_KEY, encodeState({ ...state, epoch }));
  await epochs.close();
}
