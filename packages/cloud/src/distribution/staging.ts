import { MillraceError } from '@millrace/base';
import { SEGMENT_BYTES } from '@millrace/vault';
import type { StagingSettings } from '../settings.ts';

interface Staged {
  readonly owner: string;
  segments: number;
}

/** Counts staged segments by design and owner, and enforces the quotas. */
export class Staging {
  readonly #settings: StagingSettings;
  readonly #designs = new Map<string, Staged>();

  constructor(settings: StagingSettings) {
    this.#settings = settings;
  }

  /**
   * Reserves space for `segments` more segments, 0 for a replacement. `add` with a negative number releases space that
   * was not used.
   * @throws {MillraceError} E_QUOTA; E_FORBIDDEN when another owner stages the design
   */
  reserve(design: string, owner: string, segments: number): void {
    const { designsPerOwner, bytesPerOwner, bytes } = this.#settings;
    const known = this.#designs.get(design);
    if (known !== undefined && known.owner !== owner)
      throw new MillraceError('E_FORBIDDEN', 'the design is staged by another user');
    const own = [...this.#designs.values()].filter((staged) => staged.owner === owner);
    if (known === undefined && own.length >= designsPerOwner)
      throw quota(`${designsPerOwner} staged designs per owner`, designsPerOwner);
    if ((segmentsOf(own) + segments) * SEGMENT_BYTES > bytesPerOwner)
      throw quota(`${bytesPerOwner} staged bytes per owner`, bytesPerOwner);
    if ((segmentsOf([...this.#designs.values()]) + segments) * SEGMENT_BYTES > bytes)
      throw quota(`${bytes} staged bytes in all`, bytes);
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
