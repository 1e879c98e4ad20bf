import { MillraceError } from '@millrace/base/core';
import { type SuiteName, suites } from './suites.ts';

/** log2 of the number of entries of a matrix. A symbol of the cell has order/8 bytes. */
export type Order = 8 | TableOrder;
/** Orders whose tables are kept. At order 8 the table is computed for each frame: 256 hashes. */
export type TableOrder = 16 | 24;
export type HintMode = 'dense' | 'sparse';

/** Parameters that both ends agree on before the first frame. */
export interface MatrixParameters {
  readonly suite: SuiteName;
  readonly order: Order;
  /** A dense hint is as long as its symbol. A sparse hint is one byte longer and allows chaff. */
  readonly hints: HintMode;
  /**
   * Hints in one block of the parity code, 1 to 342. Default: 48 at order 8, otherwise 342. Chosen by the sender; the
   * receiver reads it from the frame.
   */
  readonly blockHints?: number;
  /** Chaff per 100 hints of data, 0 to 100 (sparse hints only). Chosen by the sender. */
  readonly chaffPercent?: number;
}

/** Maximum hints in one block: its bytes then fit the code's columns, and its parity one column. */
export const MAX_BLOCK_HINTS = 342;
/**
 * Default block size of a sender of order 8. In a longer block the same codes occur several times, each with the same
 * candidates that add up to 0, and more often than a receiver tries out (spec/live-matrix.md, section 6.3).
 */
export const SMALL_BLOCK_HINTS = 48;
/** Maximum cell of one frame, bytes. */
export const MAX_CELL_BYTES = 65_538;
export const SESSION_ID_BYTES = 16;
export const SEED_BYTES = 32;
/** Number of revisions after which the ratchet needs a fresh shared secret. */
export const MIX_INTERVAL = 64n;

/** Parameters with every default filled in. */
export interface Matrix {
  readonly suite: SuiteName;
  readonly order: Order;
  readonly hints: HintMode;
  readonly blockHints: number;
  readonly chaffPercent: number;
  /** Bytes of a symbol: the part of the cell that one hint represents. */
  readonly symbolBytes: number;
  readonly hintBytes: number;
}

/** @throws {MillraceError} E_INPUT if a parameter has an invalid value */
export function completeParameters(parameters: MatrixParameters): Matrix {
  const { suite, order, hints, chaffPercent = 0 } = parameters;
  const { blockHints = order === 8 ? SMALL_BLOCK_HINTS : MAX_BLOCK_HINTS } = parameters;
  if (!Object.hasOwn(suites, suite)) throw refuse('suite', 'keccak256 or turboshake128');
  if (order !== 8 && order !== 16 && order !== 24) throw refuse('order', '8, 16 or 24');
  if (hints !== 'dense' && hints !== 'sparse') throw refuse('hints', 'dense or sparse');
  if (!isIntegerIn(blockHints, 1, MAX_BLOCK_HINTS)) throw refuse('blockHints', `1 to ${MAX_BLOCK_HINTS}`);
  if (!isIntegerIn(chaffPercent, 0, 100)) throw refuse('chaffPercent', '0 to 100');
  if (hints === 'dense' && chaffPercent !== 0) throw refuse('chaffPercent', '0 with dense hints');
  const symbolBytes = order / 8;
  return {
    suite,
    order,
    hints,
    blockHints,
    chaffPercent,
    symbolBytes,
    hintBytes: hints === 'dense' ? symbolBytes : symbolBytes + 1,
  };
}

function refuse(name: string, allowed: string): MillraceError {
  return new MillraceError('E_INPUT', `${name} of the live matrix must be ${allowed}`, { data: { parameter: name } });
}

export function isIntegerIn(value: number, least: number, most: number): boolean {
  return Number.isInteger(value) && value >= least && value <= most;
}

/** @throws {MillraceError} E_INPUT if the value does not have exactly `length` bytes */
export function requireBytes(name: string, value: Uint8Array, length: number): void {
  if (value.length !== length) throw new MillraceError('E_INPUT', `${name} must have ${length} bytes`);
}
