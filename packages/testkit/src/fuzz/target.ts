import type { Bytes, ErrorCode } from '@millrace/base';
import type { Random } from './random.ts';

/** Cost of one input, which determines how many are tried. */
export type Cost = 'cheap' | 'middling' | 'dear' | 'very dear';

/** A decoder of external bytes. */
export interface Target {
  readonly name: string;
  /** Valid inputs from which mutations start. Empty if `make` makes all inputs. */
  readonly samples: readonly Bytes[];
  /** Makes a well-formed but invalid input instead of mutating a sample. */
  readonly make?: (random: Random) => Bytes | Promise<Bytes>;
  readonly cost: Cost;
  /** Allowed error codes. */
  readonly codes: readonly ErrorCode[];
  decode(input: Bytes): unknown;
  /**
   * Inputs that may be accepted. `samples`: only the samples (authenticated inputs). `any`: any well-formed input. A
   * function checks the result for the input, for example that it encodes to the same bytes.
   */
  readonly accepts: 'samples' | 'any' | ((result: unknown, input: Bytes) => boolean);
}
