import type { Queue, RecordStore } from '@millrace/stores';
import { allowedObjects } from './licence-records.ts';
import { countClaims } from './permits.ts';
import { ASK_AGAIN } from './queued-prints.ts';
import { openRecords } from './records.ts';
import type { ControlStores } from './stores.ts';

// Changes to a control node's stores while the node is stopped (docs/runbooks/recover.md, docs/adr/0025). Each function
// may be repeated after an interruption.

/** Designs and licences that a keys node holds. */
export interface Held {
  readonly designs: ReadonlySet<string>;
  readonly licences: ReadonlySet<string>;
}

const LOST = 'a backup older than the design was restored: its keys and cells are lost; add the design again';
const DELETED: readonly string[] = ['deleting', 'deleted'];
const BATCH = 1_000;
/** Nobody else claims mail while the node is stopped. */
const LEASE_MS = 3_600_000;

/**
 * Prepares control for keys and segments nodes that were restored to an older state. Deletes their recorded epochs,
 * marks designs and licences that they do not hold as lost, and drops their mail to each other. Leaves counts,
 * deletions and the ledger unchanged.
 * @param control.nodes ids of the restored nodes
 * @returns the numbers of designs and licences that are lost
 */
export async function acceptRestoredNodes(
  {
    store,
    mail,
    nodes,
  }: { store: RecordStore; mail: Queue; nodes: { readonly keys: string; readonly segments: string } },
  held: Held,
): Promise<{ designs: number; licences: number }> {
  await forgetEpochs({ records: store }, ['keys', 'segments']);
  const records = openRecords(store);
  const lost = { designs: 0, licences: 0 };
  const [keys, segments] = [await dropMailOfNodes(mail, nodes.keys), await dropMailOfNodes(mail, nodes.segments)];
  for await (const [id, design] of records.designs.list()) {
    const waits = keys.has(`control/design/${id}`) && segments.has(`control/design/${id}`);
    const known = held.designs.has(id) || design.pending !== undefined || waits;
    if (known || design.state === 'refused' || DELETED.includes(design.state)) continue;
    const { damage: _gone, repair: _too, ...kept } = design;
    await records.designs.update(id, () => ({ ...kept, state: 'refused', code: 'E_BACKUP', reason: LOST }));
    lost.designs++;
  }
  for await (const [id, licence] of records.licences.list()) {
    if (licence.lost === true || held.licences.has(id)) continue;
    const design = await records.designs.get(licence.design);
    // The licence ended with its design.
    if (design !== undefined && DELETED.includes(design.state)) continue;
    const waits = licence.pending !== undefined || keys.has(`control/licence/${id}`);
    // Mail of a licence is useless when its design is lost.
    if (waits && design?.code !== 'E_BACKUP') continue;
    await records.licences.update(id, (current) => ({ ...current, lost: true }));
    lost.licences++;
  }
  return lost;
}

/**
 * Removes the proactive nodes' mail to each other, which is about epochs that no longer exist. Keeps control's own
 * mail.
 * @returns ids of the mail that is kept
 */
async function dropMailOfNodes(mail: Queue, recipient: string): Promise<Set<string>> {
  const kept = new Set<string>();
  for (;;) {
    const claimed = await mail.claim(recipient, { consumer: 'restore', limit: BATCH, leaseMs: LEASE_MS });
    if (claimed.length === 0) return kept;
    const dropped: string[] = [];
    for (const { id } of claimed) {
      if (id.startsWith('control/')) kept.add(id);
      else dropped.push(id);
    }
    await mail.acknowledge(recipient, dropped);
  }
}

/** A licence, how many of its objects were permitted by control's records, and how many are left at most. */
export interface Restored {
  readonly licence: string;
  readonly used: number;
  readonly most: number;
}

/**
 * Suspends every licence with objects left until its owner states how many are left, and refuses its queued prints:
 * they may have been printed since the backup. Other licences are suspended when a lost credit may be repeated.
 * @param restore identifies this restore; the owner's statement must contain it
 */
export async function suspendLicences(store: RecordStore, restore: string): Promise<Restored[]> {
  const records = openRecords(store);
  const restored: Restored[] = [];
  for await (const [id, licence] of records.licences.list()) {
    if (licence.lost === true) continue;
    const used = await countClaims({ records }, licence);
    const most = allowedObjects(licence) - used;
    await records.licences.update(id, (current) => ({
      ...current,
      restored: { restore, used },
      suspended: most > 0 ? restore : undefined,
    }));
    restored.push({ licence: id, used, most });
  }
  const waiting = new Set(restored.filter(({ most }) => most > 0).map(({ licence }) => licence));
  for await (const [id, print] of records.prints.list()) {
    if (print.state !== 'queued' || !waiting.has(print.licence)) continue;
    const refused = { state: 'refused', code: 'E_LICENCE_SUSPENDED', reason: ASK_AGAIN } as const;
    await records.prints.update(id, (current) => ({ ...current, ...refused }));
  }
  return restored;
}

/**
 * Revokes every API token: which of them were revoked since the older state is unknown.
 * @param restore identifies this restore; stands for the person who revokes
 */
export async function revokeTokens(store: RecordStore, restore: string, now: number): Promise<void> {
  const { tokens } = openRecords(store);
  for await (const [id] of tokens.list())
    await tokens.update(id, (token) =>
      token.revoked === undefined ? { ...token, revoked: { at: now, by: restore } } : token,
    );
}

/** Newest epoch that the proactive nodes have reported to control; 0 when none. */
export async function newestEpoch({ records }: Pick<ControlStores, 'records'>): Promise<number> {
  let newest = 0;
  for await (const [, { epoch }] of openRecords(records).heads.list()) newest = Math.max(newest, epoch);
  return newest;
}

/** Makes control accept any epoch that these nodes report next. */
export async function forgetEpochs(
  { records }: Pick<ControlStores, 'records'>,
  roles: readonly ('segments' | 'keys')[],
): Promise<void> {
  const { heads } = openRecords(records);
  for await (const [id, { role }] of heads.list()) if (roles.includes(role)) await heads.remove(id);
}
