import { type Bytes, copyBytes, equalBytes } from '@millrace/base';
import { hmacSha256OfPublic, sha256OfPublic } from '@millrace/base/crypto';
import { writeNumber } from './keys.ts';
import { HASH_LENGTH } from './tree.ts';

// The map from accounts to their newest events: a binary tree over 256-bit keys (docs/adr/0051). A subtree without
// accounts has the hash of 32 zero bytes, one with a single account the hash of its leaf, every other one the hash of
// its two halves. So a tree of n random keys is about log2(n) + 1 levels deep.

export const EMPTY_HASH: Bytes = new Uint8Array(HASH_LENGTH);
/** Number of bits of a key, and the maximum length of a proof. */
export const MAP_DEPTH = 8 * HASH_LENGTH;
/** Length of the salt of a map, bytes. */
export const MAP_SALT_LENGTH = 32;

/** First bytes of what is hashed for a leaf and for an inner node. */
export const LEAF_PREFIX = 2;
export const INNER_PREFIX = 3;
const NUMBER_BYTES = 8;

const leafInput = new Uint8Array(1 + HASH_LENGTH + NUMBER_BYTES + HASH_LENGTH);
const innerInput = new Uint8Array(1 + 2 * HASH_LENGTH);

/** What the map states of an account: sequence number and leaf hash of its newest event. */
export interface MapValue {
  readonly sequence: number;
  readonly hash: Bytes;
}

export interface MapLeaf extends MapValue {
  readonly key: Bytes;
}

/**
 * Proof of presence or absence: the hashes of the siblings from the root downwards; and, if the place of the key is
 * taken by another account, that account's leaf.
 */
export interface MapProof {
  readonly siblings: readonly Bytes[];
  readonly other?: MapLeaf | undefined;
}

/** Place of an account in the map. The salt keeps those who do not have it from testing names. */
export function mapKey(salt: Uint8Array, account: Uint8Array): Bytes {
  return hmacSha256OfPublic(salt, account);
}

/** Hash(0x02 ‖ key ‖ u64 sequence ‖ hash). */
export function mapLeafHash({ key, sequence, hash }: MapLeaf): Bytes {
  leafInput[0] = LEAF_PREFIX;
  leafInput.set(key, 1);
  writeNumber(leafInput, 1 + HASH_LENGTH, sequence, NUMBER_BYTES);
  leafInput.set(hash, 1 + HASH_LENGTH + NUMBER_BYTES);
  return sha256OfPublic(leafInput);
}

/** Hash(0x03 ‖ left ‖ right). */
export function mapNodeHash(left: Uint8Array, right: Uint8Array): Bytes {
  innerInput[0] = INNER_PREFIX;
  innerInput.set(left, 1);
  innerInput.set(right, 1 + HASH_LENGTH);
  return sha256OfPublic(innerInput);
}

/**
 * Root of the map of these accounts, by its definition.
 * @throws {RangeError} if two keys are the same
 */
export function mapRootOf(leaves: readonly MapLeaf[], depth = 0): Bytes {
  const [only, second] = leaves;
  if (only === undefined) return EMPTY_HASH;
  if (second === undefined) return mapLeafHash(only);
  if (depth === MAP_DEPTH) throw new RangeError('two accounts have the same key');
  const left = leaves.filter(({ key }) => bitOf(key, depth) === 0);
  const right = leaves.filter(({ key }) => bitOf(key, depth) === 1);
  return mapNodeHash(mapRootOf(left, depth + 1), mapRootOf(right, depth + 1));
}

/** Bit of a key, the highest one first. */
export function bitOf(key: Uint8Array, depth: number): 0 | 1 {
  return (((key[depth >> 3] ?? 0) >> (7 - (depth & 7))) & 1) as 0 | 1;
}

/**
 * Whether the proof leads from `value` at `key` (or from its absence, if undefined) to the root. For one root and key it
 * can be proven of one value at most, or its absence: two proofs that lead to one root agree on every node of the path,
 * or they contain a collision of SHA-256.
 */
export function verifyMapProof(
  root: Uint8Array,
  key: Uint8Array,
  value: MapValue | undefined,
  { siblings, other }: MapProof,
): boolean {
  if (siblings.length > MAP_DEPTH || !siblings.every((hash) => hash.length === HASH_LENGTH)) return false;
  if (key.length !== HASH_LENGTH || root.length !== HASH_LENGTH) return false;
  let hash = EMPTY_HASH;
  if (value !== undefined) {
    if (other !== undefined || !isValue(value)) return false;
    hash = mapLeafHash({ key: copyBytes(key), ...value });
  } else if (other !== undefined) {
    if (other.key.length !== HASH_LENGTH || !isValue(other) || equalBytes(other.key, key)) return false;
    for (let depth = 0; depth < siblings.length; depth++)
      if (bitOf(other.key, depth) !== bitOf(key, depth)) return false;
    hash = mapLeafHash(other);
  }
  for (let depth = siblings.length - 1; depth >= 0; depth--) {
    const sibling = siblings[depth] ?? EMPTY_HASH;
    hash = bitOf(key, depth) === 0 ? mapNodeHash(hash, sibling) : mapNodeHash(sibling, hash);
  }
  return equalBytes(hash, copyBytes(root));
}

function isValue({ sequence, hash }: MapValue): boolean {
  return Number.isSafeInteger(sequence) && sequence >= 0 && hash.length === HASH_LENGTH;
}
