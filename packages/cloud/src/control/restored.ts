import { equalBytes, utf8 } from '@millrace/base';
import type { Queue, Store } from '@millrace/stores';
import { openRecords } from './records.ts';

// What control has to learn when keys and segments nodes were put back to a backup and it was not (docs/runbooks/recover.md).
// Offline: the stores are nobody else's.

/** Designs and licences that a keys node holds. */
export interface Held {
  readonly designs: ReadonlySet<string>;
  readonly licences: ReadonlySet<string>;
}

const LOST = 'a backup older than it was restored: the keys and cells are lost; add the design again';
const DELETED: readonly string[] = ['deleting', 'deleted'];
const BATCH = 1_000;
/** A moment is enough: whoever claims here is alone. */
const LEASE_MS = 3_600_000;

/** Whether the ledger in `newer` begins with every entry of the one in `older`. */
export async function ledgerGoesOn(older: Store, newer: Store): Promise<boolean> {
  for await (const { key, value } of older.range({ gte: utf8('ledger/entry/'), lt: utf8('ledger/entry0') })) {
    const same = await newer.get(key);
    if (same === undefined || !equalBytes(same, value)) return false;
  }
  return true;
}

/**
 * Control goes on with nodes that are older than it: it forgets how far they were, marks what they have never heard of, and
 * drops what they said to each other. Counts, deletions and the ledger stay as they are. May be done again.
 * @returns how many designs and licences are lost
 */
export async function takeRestored(
  { store, mail }: { store: Store; mail: Queue },
  held: Held,
): Promise<{ designs: number; licences: number }> {
  const records = openRecords(store);
  const lost = { designs: 0, licences: 0 };
  for (const role of ['keys', 'segments']) await records.heads.remove(role);
  const [keys, segments] = [await dropTalk(mail, 'keys'), await dropTalk(mail, 'segments')];
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
    // It went with its design, whenever that was.
    if (design !== undefined && DELETED.includes(design.state)) continue;
    const waits = licence.pending !== undefined || keys.has(`control/licence/${id}`);
    // Its mail is of no use where the design is lost.
    if (waits && design?.code !== 'E_BACKUP') continue;
    await records.licences.update(id, (current) => ({ ...current, lost: true }));
    lost.licences++;
  }
  return lost;
}

/** Licences whose secrets a keys node's store holds. */
export async function licencesHeld(store: Store): Promise<Set<string>> {
  const held = new Set<string>();
  for await (const { key } of store.range({ gte: utf8('licence/'), lt: utf8('licence0') }))
    held.add(new TextDecoder().decode(key).slice('licence/'.length));
  return held;
}

/**
 * Mail of the proactive nodes to each other speaks of epochs that are no more; control's own stays.
 * @returns the ids of what stays
 */
async function dropTalk(mail: Queue, recipient: string): Promise<Set<string>> {
  const staying = new Set<string>();
  for (;;) {
    const claimed = await mail.claim(recipient, { limit: BATCH, leaseMs: LEASE_MS });
    if (claimed.length === 0) return staying;
    const talk: string[] = [];
    for (const { id } of claimed) {
      if (id.startsWith('control/')) staying.add(id);
      else talk.push(id);
    }
    await mail.acknowledge(recipient, talk);
  }
}
