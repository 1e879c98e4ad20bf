import { type Bytes, copyBytes } from '@millrace/base';
import { CompactRange, inclusionProof, leafHash, verifyInclusion } from '@millrace/ledger';
import { HASH_BYTES } from './sizes.ts';

/**
 * Number of segments whose hashes are sent together. A machine holds one or two groups, whatever the size of the
 * design. Hashes and proof cost 37 bytes per segment.
 */
export const GROUP_SEGMENTS = 64;
const GROUP_BYTES = GROUP_SEGMENTS * HASH_BYTES;

/** The hashes of one group and the proof that the owner committed to them. */
export interface HashGroup {
  /** Hashes of the segments from 64 · n, 32 bytes each. The last group may be shorter. */
  readonly hashes: Bytes;
  /** Audit path, sibling first (RFC 6962, 2.1.1). */
  readonly path: readonly Bytes[];
}

export const groupCount = (segments: number): number => Math.ceil(segments / GROUP_SEGMENTS);

/** RFC 6962 tree whose entries are the concatenated hashes of 64 segments each (spec/vault.md, section 2). */
export class HashTree {
  readonly root: Bytes;
  readonly #hashes: Uint8Array;
  readonly #nodes = new Map<string, Bytes>();

  /** @param hashes SHA-256 of every sealed segment, 32 bytes each */
  constructor(hashes: Uint8Array) {
    this.#hashes = hashes;
    const range = new CompactRange();
    for (let at = 0; at < hashes.length; at += GROUP_BYTES) {
      const leaf = leafHash(hashes.subarray(at, at + GROUP_BYTES));
      range.push(leaf, (level, index, hash) => this.#nodes.set(`${level}/${index}`, hash));
    }
    this.root = range.root();
  }

  /** @throws {RangeError} if the group does not exist */
  async group(number: number): Promise<HashGroup> {
    const count = Math.ceil(this.#hashes.length / GROUP_BYTES);
    const path = await inclusionProof(number, count, async (level, index) => {
      const node = this.#nodes.get(`${level}/${index}`);
      if (node === undefined) throw new RangeError(`no node ${level}/${index}`);
      return node;
    });
    return { hashes: copyBytes(this.#hashes.subarray(number * GROUP_BYTES, (number + 1) * GROUP_BYTES)), path };
  }
}

/** Whether the owner of a design with this root and number of segments committed to the group. */
export function verifyHashGroup(
  core: { readonly hashRoot: Uint8Array; readonly segments: number },
  number: number,
  { hashes, path }: { readonly hashes: Uint8Array; readonly path: readonly Uint8Array[] },
): boolean {
  const groups = groupCount(core.segments);
  const wanted = Math.min(GROUP_SEGMENTS, core.segments - number * GROUP_SEGMENTS) * HASH_BYTES;
  return hashes.length === wanted && verifyInclusion(leafHash(hashes), number, groups, path, core.hashRoot);
}
