import { MillraceError } from '@millrace/base';
import { GROUP_SEGMENTS, HASH_BYTES, type HashGroup, verifyHashGroup } from '@millrace/vault';
import type { Design } from './licensed-design.ts';

/**
 * Expected hashes of a session's segments, proven group by group against the core that the owner signed. Holds at most
 * the groups of a window.
 */
export class SegmentHashes {
  readonly #design: Design;
  readonly #groups = new Map<number, Uint8Array>();
  #next: number;

  /** @param from first segment of the session */
  constructor(design: Design, from: number) {
    this.#design = design;
    this.#next = Math.floor(from / GROUP_SEGMENTS);
  }

  /**
   * Adds the next group. Groups must arrive in order, and only as the window needs them.
   * @param end segments below are in the window
   * @throws {MillraceError} E_SEGMENT if the owner did not commit to it, E_FRAME_FORMAT
   */
  add({ group, ...given }: HashGroup & { readonly group: number }, end: number): void {
    if (group !== this.#next || group * GROUP_SEGMENTS >= end)
      throw new MillraceError('E_FRAME_FORMAT', `the hashes of group ${group} are not next`);
    if (!verifyHashGroup(this.#design, group, given))
      throw new MillraceError('E_SEGMENT', `the hashes of group ${group} are not those that the owner signed`);
    this.#groups.set(group, given.hashes);
    this.#next = group + 1;
  }

  /** SHA-256 of the sealed segment; undefined until it has arrived. Ask for segments in ascending order. */
  of(segment: number): Uint8Array | undefined {
    const group = Math.floor(segment / GROUP_SEGMENTS);
    this.#groups.delete(group - 1);
    const at = (segment % GROUP_SEGMENTS) * HASH_BYTES;
    return this.#groups.get(group)?.slice(at, at + HASH_BYTES);
  }
}
