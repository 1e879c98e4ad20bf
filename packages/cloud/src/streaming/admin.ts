import { utf8 } from '@millrace/base';
import { prefixRange, type Store } from '@millrace/stores';
import { ledgerSizeSeen } from '../node/rollback-guard.ts';
import { ResumeRepository } from './resumes.ts';

// Changes to a proactive node's records while the node is stopped.

/** Keys of what was streamed, for which prints, of alarms, and of the owners' statements. */
const COUNTED = ['object/', 'print/', 'alarm/', 'resume/'];
const BATCH = 500;

/**
 * Copies a node's present counts into its restored state, so that objects streamed since the backup stay refused. Records of
 * the restored state win where that state has seen more of the ledger than the present one.
 */
export async function keepCounts(present: Store, restored: Store): Promise<void> {
  const newer = (await ledgerSizeSeen(present)) >= (await ledgerSizeSeen(restored));
  for (const prefix of COUNTED) {
    let writes: { put: Uint8Array; value: Uint8Array }[] = [];
    for await (const { key, value } of present.range(prefixRange(utf8(prefix)))) {
      if (!newer && (await restored.has(key))) continue;
      writes.push({ put: key, value });
      if (writes.length < BATCH) continue;
      await restored.batch(writes);
      writes = [];
    }
    if (writes.length > 0) await restored.batch(writes);
  }
}

/** Suspends the licences at this node, as control does: each proactive node verifies the owner's statement for itself. */
export async function suspendLicencesAtNode(
  store: Store,
  restore: string,
  licences: readonly { readonly licence: string; readonly most: number }[],
): Promise<void> {
  const resumes = new ResumeRepository(store);
  for (const { licence, most } of licences) await resumes.suspend(licence, { restore, most });
}
