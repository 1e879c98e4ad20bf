import type { Bytes } from '@millrace/base/core';
import { COLUMN_WORDS, generatorColumns } from './generator.ts';
import { type Block, totalParityBytes } from './layout.ts';

/**
 * XORs into `sum` the columns of every bit that is set in `value`, the symbol at `place` in its block.
 * @param sum at least `words` words from `at` on
 */
export function addColumns(
  sum: Uint32Array,
  at: number,
  words: number,
  place: number,
  symbolBits: number,
  value: number,
): void {
  const columns = generatorColumns();
  for (let rest = value, bit = 0; rest !== 0; rest >>>= 1, bit++) {
    if ((rest & 1) === 0) continue;
    const column = (place * symbolBits + bit) * COLUMN_WORDS;
    for (let word = 0; word < words; word++) {
      sum[at + word] = (sum[at + word] ?? 0) ^ (columns[column + word] ?? 0);
    }
  }
}

/**
 * Parity of all blocks, concatenated.
 * @param values one symbol per hint of the frame; 0 for chaff
 */
export function parityOf(values: Uint32Array, symbolBits: number, blocks: readonly Block[]): Bytes {
  const out = new Uint8Array(totalParityBytes(blocks));
  const sum = new Uint32Array(COLUMN_WORDS);
  for (const block of blocks) {
    const words = Math.ceil(block.parityBytes / 4);
    sum.fill(0);
    for (let place = 0; place < block.hints; place++) {
      addColumns(sum, 0, words, place, symbolBits, values[block.first + place] ?? 0);
    }
    for (let i = 0; i < block.parityBytes; i++) out[block.parityAt + i] = (sum[i >> 2] ?? 0) >>> (8 * (i & 3));
  }
  return out;
}
