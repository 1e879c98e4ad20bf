import type { Page, RecordStore } from '@millrace/stores';
import { ledgerSizeSeen } from '../node/rollback-guard.ts';
import { ResumeRepository } from './resumes.ts';

// Changes to a proactive node's records while the node is stopped.

/**
 * Collections of delivered objects, their prints, alarms, the owners' statements and credits, holders' transfers,
 * spools, periods, groups of machines and who holds the machines.
 */
const COUNTED = [
  'object',
  'print',
  'alarm',
  'resume',
  'licence-status',
  'licence-transfers',
  'credit',
  'spool',
  'period',
  'group',
  'machine-holder',
];
const BATCH = 500;

/**
 * Copies a node's present counts into its restored state, so that objects streamed since the backup stay refused. If
 * the restored state has seen more of the ledger than the present one, its records take precedence.
 */
export async function keepCounts(present: RecordStore, restored: RecordStore): Promise<void> {
  const newer = (await ledgerSizeSeen(present)) >= (await ledgerSizeSeen(restored));
  for (const name of COUNTED) {
    const [from, to] = [present.collection(name), restored.collection(name)];
    let after: Uint8Array | undefined;
    do {
      const page: Page = await from.page({ limit: BATCH, ...(after && { after }) });
      await Promise.all(
        page.entries.map(async ({ key, value }) => {
          if (newer || (await to.get(key)) === undefined) await to.put(key, value);
        }),
      );
      after = page.next;
    } while (after !== undefined);
  }
}

/** Suspends licences with objects left at this node, as control does. Each proactive node verifies the owner's statement itself. */
export async function suspendLicencesAtNode(
  store: RecordStore,
  restore: string,
  licences: readonly { readonly licence: string; readonly used: number; readonly most: number }[],
): Promise<void> {
  const resumes = new ResumeRepository(store);
  for (const { licence, used, most } of licences) await resumes.restore(licence, { restore, used }, most > 0);
}
