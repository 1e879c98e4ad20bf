import { utf8 } from '@millrace/base';
import { prefixRange, type Store } from '@millrace/stores';
import { ledgerSizeSeen } from '../node/head.ts';
import { ResumeBook } from './resumes.ts';

// What a proactive node that is put back to a backup keeps of today, and what it learns. Offline: the stores are nobody else's.

/** What was streamed, for which prints, alarms, and what owners have said is left. */
const COUNTED = ['object/', 'print/', 'alarm/', 'resume/'];
const BATCH = 500;

/**
 * A node's own counts of today go on: what was streamed since the backup stays refused. Where the node of today has seen less
 * of the ledger than the one of the backup, it only adds what that one has not.
 */
export async function keepCounts(today: Store, restored: Store): Promise<void> {
  const newer = (await ledgerSizeSeen(today)) >= (await ledgerSizeSeen(restored));
  for (const prefix of COUNTED) {
    let writes: { put: Uint8Array; value: Uint8Array }[] = [];
    for await (const { key, value } of today.range(prefixRange(utf8(prefix)))) {
      if (!newer && (await restored.has(key))) continue;
      writes.push({ put: key, value });
      if (writes.length < BATCH) continue;
      await restored.batch(writes);
      writes = [];
    }
    if (writes.length > 0) await restored.batch(writes);
  }
}

/** Licences that wait for their owners' word at this node, too. */
export async function suspendAtNode(
  store: Store,
  restore: string,
  licences: readonly { readonly licence: string; readonly most: number }[],
): Promise<void> {
  const book = new ResumeBook(store);
  for (const { licence, most } of licences) await book.suspend(licence, { restore, most });
}
