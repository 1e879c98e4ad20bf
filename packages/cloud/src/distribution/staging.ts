import { MillraceError } from '@millrace/base';
import { SEGMENT_BYTES } from '@millrace/vault';
import type { StagingSettings } from '../settings.ts';

interface Staged {
  readonly owner: string;
  segments: number;
}

/** What is staged, by design and owner, against what may be. */
export class Staging {
  readonly #settings: StagingSettings;
  readonly #designs = new Map<string, Staged>();

  constructor(settings: StagingSettings) {
    this.#settings = settings;
  }

  /**
   * Makes room for so many more segments, 0 when one takes the place of another; `add` gives back what is not written.
   * @throws {MillraceError} E_QUOTA; E_FORBIDDEN when the design is staged by somebody else
   */
  reserve(design: string, owner: string, segments: number): void {
    const { designsPerOwner, bytesPerOwner, bytes } = this.#settings;
    const known = this.#designs.get(design);
    if (known !== undefined && known.owner !== owner)
      throw new MillraceError('E_FORBIDDEN', 'the design is staged by another user');
    const own = [...this.#designs.values()].filter((staged) => staged.owner === owner);
    if (known === undefined && own.length >= designsPerOwner)
      throw quota(`${designsPerOwner} designs of one owner are staged at a time`, designsPerOwner);
    if ((segmentsOf(own) + segments) * SEGMENT_BYTES > bytesPerOwner)
      throw quota(`${bytesPerOwner} bytes of one owner are staged at a time`, bytesPerOwner);
    if ((segmentsOf([...this.#designs.values()]) + segments) * SEGMENT_BYTES > bytes)
      throw quota(`${bytes} bytes are staged at a time`, bytes);
    this.add(design, owner, segments);
  }

  add(design: string, owner: string, segments: number): void {
    const staged = this.#designs.get(design) ?? { owner, segments: 0 };
    staged.segments += segments;
    if (staged.segments > 0) this.#designs.set(design, staged);
    else this.#designs.delete(design);
  }

  wiped(design: string): void {
    this.#designs.delete(design);
  }
}

const segmentsOf = (staged: readonly Staged[]): number => staged.reduce((total, { segments }) => total + segments, 0);

function quota(what: string, limit: number): MillraceError {
  return new MillraceError('E_QUOTA', `at most ${what}`, { data: { limit } });
}
