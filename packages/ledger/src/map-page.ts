import { type Bytes, copyBytes, MillraceError } from '@millrace/base';
import { readNumber, writeNumber } from './keys.ts';
import { EMPTY_HASH, type MapLeaf, mapLeafHash, mapNodeHash } from './map-tree.ts';
import { HASH_LENGTH } from './tree.ts';

// Four levels of the map are stored as one page with 16 slots, so that an update rewrites few records.

export const PAGE_BITS = 4;
export const PAGE_SLOTS = 1 << PAGE_BITS;

/** A subtree of the map below a page: nothing, one account, or the page below with its hash. */
export type Slot = { readonly leaf: MapLeaf } | { readonly below: Bytes } | undefined;

const NONE = 0;
const ONE = 1;
const MORE = 2;
const SEQUENCE_BYTES = 7;
const LEAF_BYTES = HASH_LENGTH + SEQUENCE_BYTES + HASH_LENGTH;

/** One byte (0 nothing, 1 leaf, 2 page) for each slot, then the contents of the slots in their order. */
export function encodePage(slots: readonly Slot[]): Bytes {
  const length = slots.reduce((sum, slot) => sum + lengthOf(slot), PAGE_SLOTS);
  const bytes = new Uint8Array(length);
  let at = PAGE_SLOTS;
  for (let i = 0; i < PAGE_SLOTS; i++) {
    const slot = slots[i];
    if (slot === undefined) continue;
    if ('leaf' in slot) {
      bytes[i] = ONE;
      bytes.set(slot.leaf.key, at);
      writeNumber(bytes, at + HASH_LENGTH, slot.leaf.sequence, SEQUENCE_BYTES);
      bytes.set(slot.leaf.hash, at + HASH_LENGTH + SEQUENCE_BYTES);
    } else {
      bytes[i] = MORE;
      bytes.set(slot.below, at);
    }
    at += lengthOf(slot);
  }
  return bytes;
}

/** @throws {MillraceError} E_LEDGER_ENTRY if the page is damaged */
export function decodePage(bytes: Uint8Array): Slot[] {
  const slots: Slot[] = [];
  let at = PAGE_SLOTS;
  for (let i = 0; i < PAGE_SLOTS; i++) {
    const kind = bytes[i];
    if (kind === NONE) {
      slots.push(undefined);
    } else if (kind === ONE && at + LEAF_BYTES <= bytes.length) {
      const key = copyBytes(bytes.subarray(at, at + HASH_LENGTH));
      const sequence = readNumber(bytes, at + HASH_LENGTH, SEQUENCE_BYTES);
      if (!Number.isSafeInteger(sequence)) throw damaged();
      const hash = copyBytes(bytes.subarray(at + HASH_LENGTH + SEQUENCE_BYTES, at + LEAF_BYTES));
      slots.push({ leaf: { key, sequence, hash } });
      at += LEAF_BYTES;
    } else if (kind === MORE && at + HASH_LENGTH <= bytes.length) {
      slots.push({ below: copyBytes(bytes.subarray(at, at + HASH_LENGTH)) });
      at += HASH_LENGTH;
    } else throw damaged();
  }
  if (at !== bytes.length) throw damaged();
  return slots;
}

/** A subtree inside a page. */
interface Node {
  readonly hash: Bytes;
  readonly accounts: typeof NONE | typeof ONE | typeof MORE;
  /** The account, if there is one only. */
  readonly leaf?: MapLeaf | undefined;
}

/** Hash of a page with at least two accounts, or of any page if it is the topmost one. */
export function hashOfPage(slots: readonly Slot[]): Bytes {
  return subtree(slots, 0, PAGE_SLOTS).hash;
}

/**
 * The path of a slot inside its page, from the top: the siblings' hashes, and the single account or the empty place at
 * which it ends early.
 */
export function pathInPage(
  slots: readonly Slot[],
  slot: number,
): { readonly siblings: Bytes[]; readonly end: 'page' | 'empty' | MapLeaf } {
  const siblings: Bytes[] = [];
  let [low, high] = [0, PAGE_SLOTS];
  for (;;) {
    const here = subtree(slots, low, high);
    if (here.accounts === NONE) return { siblings, end: 'empty' };
    if (here.leaf !== undefined) return { siblings, end: here.leaf };
    if (high - low === 1) return { siblings, end: 'page' };
    const middle = (low + high) >> 1;
    if (slot < middle) {
      siblings.push(subtree(slots, middle, high).hash);
      high = middle;
    } else {
      siblings.push(subtree(slots, low, middle).hash);
      low = middle;
    }
  }
}

function subtree(slots: readonly Slot[], low: number, high: number): Node {
  if (high - low === 1) {
    const slot = slots[low];
    if (slot === undefined) return empty;
    if ('leaf' in slot) return { hash: mapLeafHash(slot.leaf), accounts: ONE, leaf: slot.leaf };
    return { hash: slot.below, accounts: MORE };
  }
  const middle = (low + high) >> 1;
  const [left, right] = [subtree(slots, low, middle), subtree(slots, middle, high)];
  if (left.accounts === NONE && right.accounts !== MORE) return right;
  if (right.accounts === NONE && left.accounts !== MORE) return left;
  return { hash: mapNodeHash(left.hash, right.hash), accounts: MORE };
}

const empty: Node = { hash: EMPTY_HASH, accounts: NONE };

function lengthOf(slot: Slot): number {
  if (slot === undefined) return 0;
  return 'leaf' in slot ? LEAF_BYTES : HASH_LENGTH;
}

function damaged(): MillraceError {
  return new MillraceError('E_LEDGER_ENTRY', 'a page of the account map is damaged');
}
