import { MillraceError, type RandomSource, systemRandom } from '@millrace/base';
import type { Log } from '@millrace/stores';
import { EpochKeys } from './epochs.ts';
import { PlaybookLog } from './playbook-log.ts';
import type { Slots } from './slots.ts';
import type { KeyWrapper } from './wrapper.ts';

/**
 * Continues in a new epoch after the keys of the current one were lost, for example by restoring an older state.
 * `epoch` must be later than any previous epoch. It gets a new key. Designs keep their content keys; their cells are
 * missing until they are repaired. The playbook must not be open.
 * @param options.log log of the playbook
 * @throws {MillraceError} E_STORE
 */
export async function resetEpoch(options: {
  log: Log;
  epochSlots: Slots;
  wrapper: KeyWrapper;
  epoch: number;
  random?: RandomSource;
}): Promise<void> {
  const { wrapper, epoch, random = systemRandom } = options;
  const log = await PlaybookLog.acquire(options.log);
  const stored = await log.state();
  if (stored === undefined) throw new MillraceError('E_STORE', 'the log has no playbook');
  const { sweep: _given, ...state } = stored;
  const epochs = new EpochKeys(options.epochSlots, wrapper, random);
  await epochs.create(epoch);
  await log.append([], [], { ...state, epoch });
  await epochs.close();
}
