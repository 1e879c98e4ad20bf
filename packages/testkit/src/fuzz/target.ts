import type { Bytes, ErrorCode } from '@millrace/base';
import type { Random } from './random.ts';

/** How dear one input is: it decides how many are tried. */
export type Cost = 'cheap' | 'middling' | 'dear' | 'very dear';

/** Something that takes bytes from outside. */
export interface Target {
  readonly name: string;
  /** What it takes; mutations start from these. None where `make` makes all. */
  readonly samples: readonly Bytes[];
  /** Makes an input in another way than by changing bytes of a sample: well-formed and wrong. */
  readonly make?: (random: Random) => Bytes | Promise<Bytes>;
  readonly cost: Cost;
  /** The codes with which it may refuse. */
  readonly codes: readonly ErrorCode[];
  decode(input: Bytes): unknown;
  /**
   * What may be accepted. `samples`: nothing but the samples (what is authentic, or a signature covers). `any`: whatever
   * fits the form. Otherwise: whether this result is right for this input, such as that it is written again as the same bytes.
   */
  readonly accepts: 'samples' | 'any' | ((result: unknown, input: Bytes) => boolean);
}
