import { systemClock, systemRandom } from '@millrace/base';
import { ed25519NoteSigner, type Ledger, openLedger } from '@millrace/ledger';
import { MemoryLog } from '@millrace/stores';

/** A ledger in memory in which `object-1` was licensed and completed. */
export async function ledgerWithObject(): Promise<Ledger> {
  const origin = 'ledger.example/one';
  const signer = ed25519NoteSigner(origin, systemRandom(32));
  const ledger = await openLedger({ store: new MemoryLog(), signer, origin, clock: systemClock });
  const append = (account: string, type: 'machine' | 'licensed' | 'ordered' | 'permitted' | 'completed', body = {}) =>
    ledger.append({ account, type, actor: 'control', body, eventId: `${account}/${type}` });
  await append('machine-1', 'machine');
  await append('licence-1', 'licensed', { objects: 1, machine: 'machine-1' });
  await append('object-1', 'ordered');
  await append('object-1', 'licensed', { licence: 'licence-1' });
  await append('object-1', 'permitted', { licence: 'licence-1', machine: 'machine-1' });
  await append('object-1', 'completed');
  return ledger;
}
