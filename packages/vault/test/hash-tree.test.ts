import { createHash } from 'node:crypto';
import { fromHex, toHex, u32be } from '@millrace/base';
import { describe, expect, it } from 'vitest';
import { GROUP_SEGMENTS, HashTree, verifyHashGroup } from '../src/index.ts';
import { readVectors } from './vectors.ts';

const { trees } = readVectors<{ trees: readonly { segments: number; root: string }[] }>('manifest.json');

const hashesOf = (segments: number): Uint8Array =>
  Buffer.concat(Array.from({ length: segments }, (_, n) => createHash('sha256').update(u32be(n)).digest()));

describe('the hash tree over the segments', () => {
  it.each(trees)('vectors/vault/manifest.json: $segments segments', async ({ segments, root }) => {
    const tree = new HashTree(hashesOf(segments));
    expect(toHex(tree.root)).toBe(root);
    const core = { hashRoot: fromHex(root), segments };
    const groups = Math.ceil(segments / GROUP_SEGMENTS);
    for (let group = 0; group < groups; group++)
      expect(verifyHashGroup(core, group, await tree.group(group)), `group ${group}`).toBe(true);
    await expect(tree.group(groups)).rejects.toThrow(RangeError);
  });

  it('proves only hashes that its owner committed to', async () => {
    const segments = 200;
    const tree = new HashTree(hashesOf(segments));
    const core = { hashRoot: tree.root, segments };
    const [first, second, last] = [await tree.group(0), await tree.group(1), await tree.group(3)];
    const flipped = first.hashes.slice();
    flipped[40] = (flipped[40] ?? 0) ^ 1;
    const swapped = Buffer.concat([
      first.hashes.subarray(32, 64),
      first.hashes.subarray(0, 32),
      first.hashes.subarray(64),
    ]);
    const wrong: [number, { hashes: Uint8Array; path: readonly Uint8Array[] }][] = [
      [0, { ...first, hashes: flipped }],
      [0, { ...first, hashes: swapped }],
      [0, { ...first, hashes: first.hashes.subarray(32) }],
      [0, { ...first, path: first.path.slice(1) }],
      [0, { ...first, path: [...first.path, new Uint8Array(32)] }],
      [0, { ...first, path: second.path }],
      [0, second],
      [1, first],
      [3, { ...last, hashes: last.hashes.subarray(32) }],
      [4, last],
    ];
    for (const [group, given] of wrong) expect(verifyHashGroup(core, group, given)).toBe(false);
    expect(verifyHashGroup({ ...core, segments: 199 }, 3, last)).toBe(false);
    expect(verifyHashGroup({ ...core, hashRoot: new Uint8Array(32) }, 0, first)).toBe(false);
  });
});
