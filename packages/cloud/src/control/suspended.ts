import type { Store } from '@millrace/stores';
import { countClaims } from './permits.ts';
import { openRecords } from './records.ts';

// What a control node that comes from a backup does not know: how many objects were permitted since (docs/adr/0025).

const ASK_AGAIN = 'a backup was restored; ask again when the owner of the licence has said how many objects are left';

/** A licence of which objects are left, as far as control's records tell: at most so many. */
export interface Suspended {
  readonly licence: string;
  readonly most: number;
}

/**
 * Every licence with objects left waits for its owner's word, and what was queued of it is refused: it may have been
 * printed since. Offline: the store is nobody else's. May be done again.
 * @param restore name of this restoring, which the owner's word has to carry
 */
export async function suspendLicences(store: Store, restore: string): Promise<Suspended[]> {
  const records = openRecords(store);
  const suspended: Suspended[] = [];
  for await (const [id, licence] of records.licences.list()) {
    const most = licence.objects - (await countClaims({ records }, licence));
    if (licence.lost === true || most === 0) continue;
    await records.licences.update(id, (current) => ({ ...current, suspended: restore }));
    suspended.push({ licence: id, most });
  }
  const waiting = new Set(suspended.map(({ licence }) => licence));
  for await (const [id, print] of records.prints.list()) {
    if (print.state !== 'queued' || !waiting.has(print.licence)) continue;
    const refused = { state: 'refused', code: 'E_LICENCE_SUSPENDED', reason: ASK_AGAIN } as const;
    await records.prints.update(id, (current) => ({ ...current, ...refused }));
  }
  return suspended;
}
