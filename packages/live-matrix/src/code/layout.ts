import type { HintMode } from '../parameters.ts';

/** Parity bits of a block of sparse hints, whatever its size: about one unknown per 256 hints. */
const SPARSE_PARITY_BITS = 32;

export interface Block {
  /** Number of the block's first hint. */
  readonly first: number;
  readonly hints: number;
  /** Offset of the block's parity in the frame's parity bytes. */
  readonly parityAt: number;
  readonly parityBytes: number;
}

/**
 * Parity of a block in bytes. A block of h dense hints has about Poisson(h) unknowns; h + √(30h) + 12 bits leave it
 * unsolved less than once in 10^8 (spec/live-matrix.md, section 6.3).
 */
export function parityBytes(mode: HintMode, hints: number): number {
  if (mode === 'sparse') return SPARSE_PARITY_BITS / 8;
  return Math.ceil((hints + Math.floor(Math.sqrt(30 * hints)) + 12) / 8);
}

/** Splits a frame's hints into as few blocks of at most `blockHints` as possible. Their sizes differ by at most one. */
export function layoutBlocks(mode: HintMode, hints: number, blockHints: number): readonly Block[] {
  const count = Math.ceil(hints / blockHints);
  const blocks: Block[] = [];
  let first = 0;
  let parityAt = 0;
  for (let i = 0; i < count; i++) {
    const size = Math.floor(hints / count) + (i < hints % count ? 1 : 0);
    const bytes = parityBytes(mode, size);
    blocks.push({ first, hints: size, parityAt, parityBytes: bytes });
    first += size;
    parityAt += bytes;
  }
  return blocks;
}

/** Total parity of all blocks of a frame, bytes. */
export function totalParityBytes(blocks: readonly Block[]): number {
  const last = blocks.at(-1);
  return last === undefined ? 0 : last.parityAt + last.parityBytes;
}
