import { type Bytes, compareBytes, equalBytes, MillraceError } from '@millrace/base';
import { mapPageKey } from './keys.ts';
import {
  decodePage,
  encodePage,
  hashOfPage,
  isBelow,
  LEAF_BYTES,
  PAGE_BITS,
  PAGE_SLOTS,
  pathInPage,
  type Slot,
  writeLeaf,
} from './map-page.ts';
import { EMPTY_HASH, MAP_DEPTH, type MapLeaf, type MapProof } from './map-tree.ts';
import type { LedgerStore, StoreWrite } from './store.ts';
import { HASH_LENGTH } from './tree.ts';

const LEVELS = MAP_DEPTH / PAGE_BITS;

/** A page during an update, with the leaves that go into it. */
interface Work {
  readonly level: number;
  readonly prefix: Bytes;
  /** Its slot in the page above. */
  readonly slot: number;
  /** Its leaves are those from `from` to `to` in the order of their keys. */
  readonly from: number;
  readonly to: number;
  /** Whether the store must have the page. */
  readonly exists: boolean;
  /** An account that was alone in the slot of the page above. */
  readonly pushed: Slot;
  page: Uint8Array | undefined;
  /** In the order of their slots. */
  readonly below: Work[];
  hash: Bytes;
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
  const sorted = encodeInOrder(leaves);
  const common = { pushed: undefined, page: undefined, hash: EMPTY_HASH };
  const whole = { level: 0, prefix: new Uint8Array(0), slot: 0, from: 0, to: leaves.length };
  const top: Work = { ...whole, exists: false, ...common, below: [] };
  const works: Work[] = [top];
  for (let row = [top]; row.length > 0; ) {
    const pages = await store.getMany(row.map(({ level, prefix }) => mapPageKey(level, prefix)));
    for (const [i, work] of row.entries()) {
      work.page = pages[i];
      if (work.page === undefined && work.exists) throw missing();
      findBelow(work, sorted);
    }
    row = row.flatMap(({ below }) => below);
    for (const work of row) works.push(work);
  }
  const writes: StoreWrite[] = [];
  // Pages below come after the ones above them, so backwards every page is complete when it is hashed.
  for (let i = works.length - 1; i >= 0; i--) {
    const work = works[i] as Work;
    const slots = slotsOf(work);
    let next = 0;
    for (const { slot, from } of runsOf(work, sorted)) {
      const below = work.below[next];
      if (below?.slot !== slot) slots[slot] = leafAt(sorted, from);
      else {
        slots[slot] = below.hash;
        next++;
      }
    }
    work.hash = hashOfPage(slots);
    writes.push({ put: mapPageKey(work.level, work.prefix), value: encodePage(slots) });
  }
  return { root: top.hash, writes };
}

/** The leaves as contents of slots, one after the other, in the order of their keys. */
function encodeInOrder(leaves: readonly MapLeaf[]): Bytes {
  const bytes = new Uint8Array(leaves.length * LEAF_BYTES);
  const inOrder = [...leaves].sort((a, b) => compareBytes(a.key, b.key));
  for (const [i, leaf] of inOrder.entries()) writeLeaf(leaf, bytes, i * LEAF_BYTES);
  return bytes;
}

const leafAt = (sorted: Bytes, i: number): Bytes => sorted.subarray(i * LEAF_BYTES, (i + 1) * LEAF_BYTES);

/** The slots of a page before its update. */
function slotsOf({ page, pushed, level }: Work): Slot[] {
  if (page !== undefined) return decodePage(page);
  const slots = new Array<Slot>(PAGE_SLOTS).fill(undefined);
  if (pushed !== undefined) slots[slotOf(pushed, level)] = pushed;
  return slots;
}

/** The leaves of a page by their slots: runs from `from` to `to`. */
function* runsOf(
  { level, from, to }: Work,
  sorted: Bytes,
): Generator<{ readonly slot: number; readonly from: number; readonly to: number }> {
  for (let first = from; first < to; ) {
    const slot = slotOf(sorted, level, first * LEAF_BYTES);
    let end = first + 1;
    while (end < to && slotOf(sorted, level, end * LEAF_BYTES) === slot) end++;
    yield { slot, from: first, to: end };
    first = end;
  }
}

/** A slot with several accounts becomes a page below. */
function findBelow(work: Work, sorted: Bytes): void {
  const slots = slotsOf(work);
  for (const { slot, from, to } of runsOf(work, sorted)) {
    const before = slots[slot];
    const exists = isBelow(before);
    let pushed = exists ? undefined : before;
    for (let i = from; i < to && pushed !== undefined; i++) if (isSameKey(pushed, sorted, i)) pushed = undefined;
    if (!exists && to - from === 1 && pushed === undefined) continue;
    const prefix = prefixOf(leafAt(sorted, from), work.level + 1);
    const common = { pushed, page: undefined, below: [], hash: EMPTY_HASH };
    work.below.push({ level: work.level + 1, prefix, slot, from, to, exists, ...common });
  }
}

/** Whether the account in a slot is the one of a leaf. */
function isSameKey(slot: Uint8Array, sorted: Bytes, leaf: number): boolean {
  for (let i = 0; i < HASH_LENGTH; i++) if (slot[i] !== sorted[leaf * LEAF_BYTES + i]) return false;
  return true;
}

/**
 * Proof for a key, and the leaf if the key is present.
 * @throws {MillraceError} E_LEDGER_ENTRY if a page is missing or damaged
 */
export async function proveInMap(
  store: Pick<LedgerStore, 'get'>,
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

/** Slot of the key (or of a prefix that is long enough) at `at` in the page of this level. */
function slotOf(bytes: Uint8Array, level: number, at = 0): number {
  const byte = bytes[at + (level >> 1)] ?? 0;
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
