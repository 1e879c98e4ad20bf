import { type Bytes, equalBytes, MillraceError } from '@millrace/base';
import { mapPageKey } from './keys.ts';
import { decodePage, encodePage, hashOfPage, PAGE_BITS, PAGE_SLOTS, pathInPage, type Slot } from './map-page.ts';
import { EMPTY_HASH, MAP_DEPTH, type MapLeaf, type MapProof } from './map-tree.ts';
import type { LedgerStore, StoreWrite } from './store.ts';

const LEVELS = MAP_DEPTH / PAGE_BITS;

/** A page during an update, with the leaves that go into it. */
interface Work {
  readonly level: number;
  readonly prefix: Bytes;
  readonly leaves: readonly MapLeaf[];
  /** Whether the store must have the page. */
  readonly exists: boolean;
  slots: Slot[];
  readonly below: Work[];
}

/**
 * The map with new values for some accounts. Reads the pages on their paths, level by level; writes nothing.
 * @param leaves keys differ
 * @returns the new root, and the writes for the pages that changed
 * @throws {MillraceError} E_LEDGER_ENTRY if a page is missing or damaged
 */
export async function updateMap(
  store: LedgerStore,
  leaves: readonly MapLeaf[],
): Promise<{ readonly root: Bytes; readonly writes: readonly StoreWrite[] }> {
  const top: Work = { level: 0, prefix: new Uint8Array(0), leaves, exists: false, slots: [], below: [] };
  const works: Work[] = [top];
  for (let row = [top]; row.length > 0; ) {
    const pages = await store.getMany(row.map(({ level, prefix }) => mapPageKey(level, prefix)));
    for (const [i, work] of row.entries()) {
      const page = pages[i];
      if (page === undefined && work.exists) throw missing();
      work.slots = page === undefined ? new Array<Slot>(PAGE_SLOTS).fill(undefined) : decodePage(page);
      distribute(work);
    }
    row = row.flatMap(({ below }) => below);
    works.push(...row);
  }
  const writes: StoreWrite[] = [];
  // Pages below come after the ones above them, so backwards every page is complete when it is hashed.
  const hashes = new Map<Work, Bytes>();
  for (const work of works.reverse()) {
    for (const below of work.below) {
      const hash = hashes.get(below);
      if (hash !== undefined) work.slots[slotOf(below.prefix, work.level)] = { below: hash };
    }
    hashes.set(work, hashOfPage(work.slots));
    writes.push({ put: mapPageKey(work.level, work.prefix), value: encodePage(work.slots) });
  }
  return { root: hashes.get(top) ?? EMPTY_HASH, writes };
}

/** Puts each leaf into its slot. A slot with several accounts becomes a page below. */
function distribute(work: Work): void {
  const groups = new Map<number, MapLeaf[]>();
  for (const leaf of work.leaves) {
    const slot = slotOf(leaf.key, work.level);
    const group = groups.get(slot);
    if (group === undefined) groups.set(slot, [leaf]);
    else group.push(leaf);
  }
  for (const [slot, group] of groups) {
    const before = work.slots[slot];
    const [only] = group;
    if (before !== undefined && 'leaf' in before && !group.some(({ key }) => equalBytes(key, before.leaf.key)))
      group.push(before.leaf);
    const exists = before !== undefined && 'below' in before;
    if (only !== undefined && group.length === 1 && !exists) {
      work.slots[slot] = { leaf: only };
      continue;
    }
    const prefix = prefixOf((only as MapLeaf).key, work.level + 1);
    work.below.push({ level: work.level + 1, prefix, leaves: group, exists, slots: [], below: [] });
  }
}

/**
 * Proof for a key, and the leaf if the key is present.
 * @throws {MillraceError} E_LEDGER_ENTRY if a page is missing or damaged
 */
export async function proveInMap(
  store: LedgerStore,
  key: Bytes,
): Promise<{ readonly leaf: MapLeaf | undefined; readonly proof: MapProof }> {
  const siblings: Bytes[] = [];
  for (let level = 0; level < LEVELS; level++) {
    const page = await store.get(mapPageKey(level, prefixOf(key, level)));
    if (page === undefined && level > 0) throw missing();
    const slots = page === undefined ? [] : decodePage(page);
    const path = pathInPage(slots, slotOf(key, level));
    siblings.push(...path.siblings);
    if (path.end === 'page') continue;
    if (path.end === 'empty') return { leaf: undefined, proof: { siblings } };
    if (equalBytes(path.end.key, key)) return { leaf: path.end, proof: { siblings } };
    return { leaf: undefined, proof: { siblings, other: path.end } };
  }
  throw missing();
}

/** Slot of a key (or of a prefix that is long enough) in the page of this level. */
function slotOf(key: Uint8Array, level: number): number {
  const byte = key[level >> 1] ?? 0;
  return level % 2 === 0 ? byte >> PAGE_BITS : byte & (PAGE_SLOTS - 1);
}

/** The first `level` half bytes of a key, filled up with zero. */
function prefixOf(key: Uint8Array, level: number): Bytes {
  const prefix = new Uint8Array((level + 1) >> 1);
  prefix.set(key.subarray(0, prefix.length));
  if (level % 2 === 1) prefix[prefix.length - 1] = (prefix[prefix.length - 1] ?? 0) & 0xf0;
  return prefix;
}

function missing(): MillraceError {
  return new MillraceError('E_LEDGER_ENTRY', 'a page of the account map is missing');
}
