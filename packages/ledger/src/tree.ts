import { type Bytes, compareBytes, concatBytes, copyBytes } from '@millrace/base';
import { sha256, sha256OfPublic } from '@millrace/base/crypto';

export const HASH_LENGTH = 32;

const leafPrefix = Uint8Array.of(0);
/** 0x00 and an entry of the ledger (opening.ts), which `leafHash` fills in. */
const leaf = new Uint8Array(1 + 33);
/** 0x01 and two hashes, which `nodeHash` fills in: one call of the hash function is twice as fast as three updates. */
const node = Uint8Array.of(1, ...new Uint8Array(2 * HASH_LENGTH));

/** SHA-256(0x00 ‖ entry), RFC 6962 section 2.1. The ledger calls it the hash of an event. */
export function leafHash(entry: Uint8Array): Bytes {
  if (entry.length !== leaf.length - 1) return sha256OfPublic(concatBytes(leafPrefix, entry));
  leaf.set(entry, 1);
  return sha256OfPublic(leaf);
}

/** SHA-256(0x01 ‖ left ‖ right), RFC 6962 section 2.1. */
export function nodeHash(left: Uint8Array, right: Uint8Array): Bytes {
  if (left.length !== HASH_LENGTH || right.length !== HASH_LENGTH) throw new RangeError('a hash has 32 bytes');
  node.set(left, 1);
  node.set(right, 1 + HASH_LENGTH);
  return sha256OfPublic(node);
}

/**
 * The nodes above a row of hashes: of each two, 32 bytes each, one after the other.
 * @param left precedes the row
 * @returns ⌊(n + 1) / 2⌋ or ⌊n / 2⌋ nodes, with or without `left`
 */
export function nodesAbove(left: Uint8Array | undefined, row: Bytes): Bytes {
  const before = left === undefined ? 0 : 1;
  const count = Math.floor((row.length / HASH_LENGTH + before) / 2);
  const above = new Uint8Array(count * HASH_LENGTH);
  for (let i = 0; i < count; i++) {
    const from = (2 * i - before) * HASH_LENGTH;
    if (from < 0 && left !== undefined) {
      node.set(left, 1);
      for (let j = 0; j < HASH_LENGTH; j++) node[1 + HASH_LENGTH + j] = row[j] as number;
    } else for (let j = 0; j < 2 * HASH_LENGTH; j++) node[1 + j] = row[from + j] as number;
    sha256OfPublic(node, above, i * HASH_LENGTH);
  }
  return above;
}

/** Root of the empty tree: SHA-256 of the empty string. */
export function emptyRoot(): Bytes {
  return sha256();
}

/** Hash of the perfect subtree over entries [index · 2^level, (index + 1) · 2^level). */
export type NodeReader = (level: number, index: number) => Promise<Uint8Array>;

/** A completed perfect subtree, reported while a tree grows. */
export type OnNode = (level: number, index: number, hash: Bytes) => void;

/**
 * The right edge of a growing tree: the hashes of the perfect subtrees into which its size decomposes, largest first.
 * At most 53 hashes suffice to append and to compute the root.
 */
export class CompactRange {
  #size: number;
  /** Never changed in place, so that copies of the range share them. */
  readonly #nodes: Bytes[];

  constructor(size = 0, nodes: readonly Bytes[] = []) {
    this.#size = size;
    this.#nodes = [...nodes];
  }

  /** Loads the right edge of the stored tree of `size` entries. */
  static async load(size: number, read: NodeReader): Promise<CompactRange> {
    const nodes: Bytes[] = [];
    let remaining = size;
    for (let level = Math.floor(Math.log2(Math.max(size, 1))) + 1; level >= 0; level--) {
      const width = 2 ** level;
      if (remaining < width) continue;
      remaining -= width;
      nodes.push(copyBytes(await read(level, (size - remaining) / width - 1)));
    }
    return new CompactRange(size, nodes);
  }

  get size(): number {
    return this.#size;
  }

  /** Appends one leaf. Calls `onNode` for it and for every perfect subtree that it completes, upwards. */
  push(leaf: Uint8Array, onNode?: OnNode): void {
    let hash = copyBytes(leaf);
    let index = this.#size;
    onNode?.(0, index, hash);
    for (let level = 1; index % 2 === 1; level++) {
      const left = this.#nodes.pop();
      if (left === undefined) throw new RangeError('the right edge does not match its size');
      hash = nodeHash(left, hash);
      index = (index - 1) / 2;
      onNode?.(level, index, hash);
    }
    this.#nodes.push(hash);
    this.#size += 1;
  }

  root(): Bytes {
    const last = this.#nodes.at(-1);
    if (last === undefined) return emptyRoot();
    return this.#nodes.slice(0, -1).reduceRight((right, left) => nodeHash(left, right), last);
  }
}

/** Root of the stored tree of the first `size` entries. */
export async function treeRoot(size: number, read: NodeReader): Promise<Bytes> {
  return size === 0 ? emptyRoot() : rangeHash(0, size, read);
}

/**
 * Audit path of entry `index` in the tree of `size` entries, the leaf's sibling first (RFC 6962, 2.1.1).
 * @throws {RangeError} unless 0 ≤ index < size
 */
export async function inclusionProof(index: number, size: number, read: NodeReader): Promise<Bytes[]> {
  if (!isCount(index) || !isCount(size) || index >= size)
    throw new RangeError(`no entry ${index} in a tree of ${size}`);
  const path: Promise<Bytes>[] = [];
  let low = 0;
  let high = size;
  while (high - low > 1) {
    const middle = low + split(high - low);
    if (index < middle) {
      path.push(rangeHash(middle, high, read));
      high = middle;
    } else {
      path.push(rangeHash(low, middle, read));
      low = middle;
    }
  }
  return (await Promise.all(path)).reverse();
}

/**
 * Proof that the tree of `size` entries extends that of `old` entries (RFC 6962, 2.1.2). Empty if the sizes are equal
 * or `old` is 0.
 * @throws {RangeError} unless 0 ≤ old ≤ size
 */
export async function consistencyProof(old: number, size: number, read: NodeReader): Promise<Bytes[]> {
  if (!isCount(old) || !isCount(size) || old > size) throw new RangeError(`a tree of ${size} extends none of ${old}`);
  const path: Promise<Bytes>[] = [];
  let low = 0;
  let high = size;
  while (old !== 0 && old !== high) {
    const middle = low + split(high - low);
    if (old <= middle) {
      path.push(rangeHash(middle, high, read));
      high = middle;
    } else {
      path.push(rangeHash(low, middle, read));
      low = middle;
    }
  }
  // The verifier already knows the old root, unless the old tree's last subtree is not the whole old tree.
  if (low > 0) path.push(rangeHash(low, high, read));
  return (await Promise.all(path)).reverse();
}

/** RFC 9162, 2.1.3.2. Returns false unless the path leads from the leaf to the root. */
export function verifyInclusion(
  leaf: Uint8Array,
  index: number,
  size: number,
  proof: readonly Uint8Array[],
  root: Uint8Array,
): boolean {
  if (!isCount(index) || !isCount(size) || index >= size || !areHashes(leaf, root, ...proof)) return false;
  let node = index;
  let last = size - 1;
  let hash = copyBytes(leaf);
  for (const sibling of proof) {
    if (last === 0) return false;
    if (node % 2 === 1 || node === last) {
      hash = nodeHash(sibling, hash);
      for (; node % 2 === 0 && node !== 0; last = half(last)) node = half(node);
    } else {
      hash = nodeHash(hash, sibling);
    }
    node = half(node);
    last = half(last);
  }
  return last === 0 && compareBytes(hash, root) === 0;
}

/** RFC 9162, 2.1.4.2. Whether the tree of `size` and `root` extends that of `old` and `oldRoot`. */
export function verifyConsistency(
  old: number,
  size: number,
  proof: readonly Uint8Array[],
  oldRoot: Uint8Array,
  root: Uint8Array,
): boolean {
  if (!isCount(old) || !isCount(size) || old > size || !areHashes(oldRoot, root, ...proof)) return false;
  if (old === size) return proof.length === 0 && compareBytes(oldRoot, root) === 0;
  if (old === 0) return proof.length === 0 && compareBytes(oldRoot, emptyRoot()) === 0;
  const [first, ...rest] = isPowerOfTwo(old) ? [oldRoot, ...proof] : proof;
  if (first === undefined) return false;
  let node = old - 1;
  let last = size - 1;
  for (; node % 2 === 1; last = half(last)) node = half(node);
  let before = copyBytes(first);
  let after = copyBytes(first);
  for (const sibling of rest) {
    if (last === 0) return false;
    if (node % 2 === 1 || node === last) {
      before = nodeHash(sibling, before);
      after = nodeHash(sibling, after);
      for (; node % 2 === 0 && node !== 0; last = half(last)) node = half(node);
    } else {
      after = nodeHash(after, sibling);
    }
    node = half(node);
    last = half(last);
  }
  return last === 0 && compareBytes(before, oldRoot) === 0 && compareBytes(after, root) === 0;
}

/** Hash over entries [low, high), where low is a multiple of the next power of two at or above high − low. */
async function rangeHash(low: number, high: number, read: NodeReader): Promise<Bytes> {
  const width = high - low;
  if (isPowerOfTwo(width)) return copyBytes(await read(Math.round(Math.log2(width)), low / width));
  const middle = low + split(width);
  return nodeHash(await rangeHash(low, middle, read), await rangeHash(middle, high, read));
}

/** Largest power of two below `width`, which is at least 2. */
function split(width: number): number {
  let power = 1;
  while (power * 2 < width) power *= 2;
  return power;
}

function isPowerOfTwo(value: number): boolean {
  return value === 1 || (value > 1 && split(value) * 2 === value);
}

function half(value: number): number {
  return Math.floor(value / 2);
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

function areHashes(...hashes: readonly Uint8Array[]): boolean {
  return hashes.every((hash) => hash.length === HASH_LENGTH);
}
