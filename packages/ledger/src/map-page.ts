import { type Bytes, copyBytes, MillraceError } from '@millrace/base';
import { sha256OfPublic } from '@millrace/base/crypto';
import { readNumber, writeNumber } from './keys.ts';
import { INNER_PREFIX, LEAF_PREFIX, type MapLeaf } from './map-tree.ts';
import { HASH_LENGTH } from './tree.ts';

// Four levels of the map are stored as one page with 16 slots, so that an update rewrites few records.

export const PAGE_BITS = 4;
export const PAGE_SLOTS = 1 << PAGE_BITS;

/**
 * A subtree of the map below a page, as it is stored: nothing; one account (`LEAF_BYTES`: key, sequence, hash); or the
 * hash of the page below (32 bytes). Updates rehash thousands of slots, so they are not decoded.
 */
export type Slot = Uint8Array | undefined;

const NONE = 0;
const ONE = 1;
const MORE = 2;
type Accounts = typeof NONE | typeof ONE | typeof MORE;

const SEQUENCE_BYTES = 7;
export const LEAF_BYTES = HASH_LENGTH + SEQUENCE_BYTES + HASH_LENGTH;

/** 0x02 ‖ key ‖ u64 sequence ‖ hash, and 0x03 ‖ left ‖ right, as in map-tree.ts. */
const leafInput = new Uint8Array(2 + LEAF_BYTES);
const innerInput = new Uint8Array(1 + 2 * HASH_LENGTH);
leafInput[0] = LEAF_PREFIX;
innerInput[0] = INNER_PREFIX;
/** Hashes of the subtrees that `fold` has reached, and how many accounts each has. */
const folded = new Uint8Array(PAGE_SLOTS * HASH_LENGTH);
const counts = new Uint8Array(PAGE_SLOTS);

/** Writes an account as the content of a slot. */
export function writeLeaf({ key, sequence, hash }: MapLeaf, bytes: Uint8Array, at: number): void {
  bytes.set(key, at);
  writeNumber(bytes, at + HASH_LENGTH, sequence, SEQUENCE_BYTES);
  bytes.set(hash, at + HASH_LENGTH + SEQUENCE_BYTES);
}

/** The account in a slot; undefined for an empty slot or a page below. */
export function leafOf(slot: Slot): MapLeaf | undefined {
  if (slot === undefined || accountsOf(slot) !== ONE) return undefined;
  const key = copyBytes(slot.subarray(0, HASH_LENGTH));
  const sequence = readNumber(slot, HASH_LENGTH, SEQUENCE_BYTES);
  return { key, sequence, hash: copyBytes(slot.subarray(HASH_LENGTH + SEQUENCE_BYTES)) };
}

/** Whether a page is below the slot. */
export const isBelow = (slot: Slot): boolean => accountsOf(slot) === MORE;

/** One byte (0 nothing, 1 leaf, 2 page) for each slot, then the contents of the slots in their order. */
export function encodePage(slots: readonly Slot[]): Bytes {
  let length = PAGE_SLOTS;
  for (const slot of slots) length += slot?.length ?? 0;
  const bytes = new Uint8Array(length);
  let at = PAGE_SLOTS;
  for (let i = 0; i < PAGE_SLOTS; i++) {
    const slot = slots[i];
    if (slot === undefined) continue;
    bytes[i] = accountsOf(slot);
    bytes.set(slot, at);
    at += slot.length;
  }
  return bytes;
}

/**
 * @returns views of the page
 * @throws {MillraceError} E_LEDGER_ENTRY if the page is damaged
 */
export function decodePage(bytes: Uint8Array): Slot[] {
  const slots: Slot[] = [];
  let at = PAGE_SLOTS;
  for (let i = 0; i < PAGE_SLOTS; i++) {
    const kind = bytes[i];
    if (kind === NONE) {
      slots.push(undefined);
      continue;
    }
    if (kind !== ONE && kind !== MORE) throw damaged();
    const length = kind === ONE ? LEAF_BYTES : HASH_LENGTH;
    if (at + length > bytes.length) throw damaged();
    const slot = bytes.subarray(at, at + length);
    if (kind === ONE && !Number.isSafeInteger(readNumber(slot, HASH_LENGTH, SEQUENCE_BYTES))) throw damaged();
    slots.push(slot);
    at += slot.length;
  }
  if (at !== bytes.length) throw damaged();
  return slots;
}

/** Hash of a page with at least two accounts, or of any page if it is the topmost one. */
export function hashOfPage(slots: readonly Slot[]): Bytes {
  fold(slots, 0, PAGE_SLOTS);
  return folded.slice(0, HASH_LENGTH);
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
    const accounts = fold(slots, low, high);
    if (accounts === NONE) return { siblings, end: 'empty' };
    const only = accounts === ONE ? leafOf(slots.slice(low, high).find((each) => each !== undefined)) : undefined;
    if (only !== undefined) return { siblings, end: only };
    if (high - low === 1) return { siblings, end: 'page' };
    const middle = (low + high) >> 1;
    fold(slots, ...((slot < middle ? [middle, high] : [low, middle]) as [number, number]));
    siblings.push(folded.slice(0, HASH_LENGTH));
    if (slot < middle) high = middle;
    else low = middle;
  }
}

/**
 * Hashes the subtree of the slots from `low` to `high`, whose number is a power of two, into `folded`. A subtree with
 * one account has the hash of its leaf.
 * @returns how many accounts it has
 */
function fold(slots: readonly Slot[], low: number, high: number): Accounts {
  for (let i = low; i < high; i++) foldSlot(slots[i], i - low);
  for (let width = (high - low) >> 1; width > 0; width >>= 1) {
    for (let i = 0; i < width; i++) {
      const [left, right] = [counts[2 * i], counts[2 * i + 1]];
      if (left === NONE && right !== MORE) move(2 * i + 1, i);
      else if (right === NONE && left !== MORE) move(2 * i, i);
      else {
        for (let j = 0; j < 2 * HASH_LENGTH; j++) innerInput[1 + j] = folded[2 * i * HASH_LENGTH + j] as number;
        sha256OfPublic(innerInput, folded, i * HASH_LENGTH);
        counts[i] = MORE;
      }
    }
  }
  return counts[0] as Accounts;
}

function foldSlot(slot: Slot, place: number): void {
  const at = place * HASH_LENGTH;
  const accounts = accountsOf(slot);
  counts[place] = accounts;
  if (slot === undefined) folded.fill(0, at, at + HASH_LENGTH);
  else if (accounts === MORE) folded.set(slot, at);
  else {
    // The sequence has 7 bytes in a slot and 8 in the hash.
    for (let j = 0; j < HASH_LENGTH; j++) leafInput[1 + j] = slot[j] as number;
    for (let j = HASH_LENGTH; j < LEAF_BYTES; j++) leafInput[2 + j] = slot[j] as number;
    sha256OfPublic(leafInput, folded, at);
  }
}

function move(from: number, to: number): void {
  counts[to] = counts[from] as number;
  folded.copyWithin(to * HASH_LENGTH, from * HASH_LENGTH, (from + 1) * HASH_LENGTH);
}

function accountsOf(slot: Slot): Accounts {
  if (slot === undefined) return NONE;
  return slot.length === LEAF_BYTES ? ONE : MORE;
}

function damaged(): MillraceError {
  return new MillraceError('E_LEDGER_ENTRY', 'a page of the account map is damaged');
}
