import { toHex, utf8 } from '@millrace/base';
import { leavesByRule, naiveReader, naiveRoot } from '@millrace/testkit/ledger/helpers';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  CompactRange,
  consistencyProof,
  emptyRoot,
  inclusionProof,
  leafHash,
  treeRoot,
  verifyConsistency,
  verifyInclusion,
} from '../src/index.ts';

const sizes = fc.integer({ min: 1, max: 70 });

describe('the Merkle tree', () => {
  test('computes the RFC 6962 hashes of the empty tree and the empty leaf', () => {
    expect(toHex(emptyRoot())).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
    expect(toHex(leafHash(utf8('')))).toBe('6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d');
  });

  test('the right edge gives the root of the recursive definition at every size', async () => {
    const leaves = leavesByRule(70);
    const range = new CompactRange();
    expect(range.root()).toEqual(emptyRoot());
    for (const [i, leaf] of leaves.entries()) {
      range.push(leaf);
      const root = naiveRoot(leaves.slice(0, i + 1));
      expect(range.root()).toEqual(root);
      expect(await treeRoot(i + 1, naiveReader(leaves))).toEqual(root);
      expect((await CompactRange.load(i + 1, naiveReader(leaves))).root()).toEqual(root);
    }
  });

  test('an inclusion proof verifies for its leaf, index, size and root, and for no other', async () => {
    await fc.assert(
      fc.asyncProperty(sizes, fc.nat(), fc.nat(), async (size, pick, noise) => {
        const leaves = leavesByRule(size);
        const index = pick % size;
        const leaf = leaves[index] ?? emptyRoot();
        const root = naiveRoot(leaves);
        const proof = await inclusionProof(index, size, naiveReader(leaves));
        expect(verifyInclusion(leaf, index, size, proof, root)).toBe(true);
        for (let other = 0; other < size; other++) {
          if (other !== index) expect(verifyInclusion(leaf, other, size, proof, root)).toBe(false);
        }
        expect(verifyInclusion(leaf, index, index, proof, root)).toBe(false);
        expect(verifyInclusion(emptyRoot(), index, size, proof, root)).toBe(false);
        expect(verifyInclusion(leaf, index, size, [...proof, root], root)).toBe(false);
        if (proof.length === 0) return;
        expect(verifyInclusion(leaf, index, size, proof.slice(1), root)).toBe(false);
        expect(verifyInclusion(leaf, index, size, proof.slice(0, -1), root)).toBe(false);
        const bent = proof.map((hash, i) => (i === noise % proof.length ? flip(hash, noise) : hash));
        expect(verifyInclusion(leaf, index, size, bent, root)).toBe(false);
      }),
      { numRuns: 150 },
    );
  });

  test('a consistency proof verifies between its two trees, and between no others', async () => {
    await fc.assert(
      fc.asyncProperty(sizes, fc.nat(), fc.nat(), async (size, pick, noise) => {
        const leaves = leavesByRule(size);
        const old = pick % (size + 1);
        const oldRoot = naiveRoot(leaves.slice(0, old));
        const root = naiveRoot(leaves);
        const proof = await consistencyProof(old, size, naiveReader(leaves));
        expect(verifyConsistency(old, size, proof, oldRoot, root)).toBe(true);
        expect(verifyConsistency(old, size, [...proof, root], oldRoot, root)).toBe(false);
        expect(verifyConsistency(old, size, proof, flip(oldRoot, noise), root)).toBe(false);
        if (old > 0) expect(verifyConsistency(old, size, proof, oldRoot, flip(root, noise))).toBe(false);
        if (proof.length === 0) return;
        expect(verifyConsistency(old, size, proof.slice(0, -1), oldRoot, root)).toBe(false);
        const bent = proof.map((hash, i) => (i === noise % proof.length ? flip(hash, noise) : hash));
        expect(verifyConsistency(old, size, bent, oldRoot, root)).toBe(false);
      }),
      { numRuns: 300 },
    );
  });

  test('rejects impossible sizes and hashes', async () => {
    const leaves = leavesByRule(3);
    const root = naiveRoot(leaves);
    await expect(inclusionProof(3, 3, naiveReader(leaves))).rejects.toThrow(RangeError);
    await expect(inclusionProof(-1, 3, naiveReader(leaves))).rejects.toThrow(RangeError);
    await expect(consistencyProof(4, 3, naiveReader(leaves))).rejects.toThrow(RangeError);
    expect(verifyInclusion(root, 0.5, 1, [], root)).toBe(false);
    expect(verifyInclusion(root, 0, 0, [], root)).toBe(false);
    expect(verifyInclusion(root.subarray(1), 0, 1, [], root.subarray(1))).toBe(false);
    expect(verifyConsistency(1, 2 ** 60, [], root, root)).toBe(false);
  });
});

function flip(hash: Uint8Array, noise: number): Uint8Array {
  const bent = Uint8Array.from(hash);
  bent[noise % hash.length] = (bent[noise % hash.length] ?? 0) ^ (1 << (noise % 8));
  return bent;
}
