import { createEngine, type HintMode } from '@millrace/live-matrix';
import {
  bareHints,
  cellsOf,
  framesOf,
  hintsOf,
  impeller,
  known,
  share,
  valuesOf,
} from '@millrace/testkit/attacks/known';
import { describe, expect, it } from 'vitest';

// Row 7: within a revision equal segments give equal hints. That reveals raw G-code, but not sealed cells.
// All inputs are fixed, so that the statistics are the same in every run.

const WIDTH = 3;
const VALUES = 2 ** 24;
const engine = createEngine();
const design = impeller();
const plain = valuesOf(design, WIDTH);

/** The number of pairs of equal hints. */
function equalPairs(hints: Uint32Array): number {
  const sorted = hints.slice().sort();
  let pairs = 0;
  let run = 0;
  for (let i = 1; i < sorted.length; i++) {
    run = sorted[i] === sorted[i - 1] ? run + 1 : 0;
    pairs += run;
  }
  return pairs;
}

/** Decodes the second half of the stream with a codebook from the first half. */
function readByCodebook(hints: Uint32Array): number {
  const half = plain.length >> 1;
  const book = new Map<number, number>();
  for (let i = 0; i < half; i++) book.set(hints[i] ?? 0, plain[i] ?? 0);
  const found = Array.from(hints.subarray(half, plain.length), (hint) => book.get(hint));
  return share(found, plain.subarray(half));
}

describe('baseline: hints of raw G-code, as in the paper', () => {
  const hints = bareHints(engine, known('baseline', 32), plain, WIDTH);

  it('few hints are distinct, and one known half of the file reveals nearly all of the other', () => {
    expect(new Set(hints).size / hints.length).toBeLessThan(0.1);
    expect(readByCodebook(hints)).toBeGreaterThan(0.9);
  });
});

describe.each<[HintMode, number]>([
  ['dense', WIDTH],
  ['sparse', WIDTH + 1],
])('ours, the same file in one revision, %s hints', (mode, hintBytes) => {
  const cells = cellsOf(design, 'row 7');
  const frames = framesOf({ suite: 'keccak256', order: 24, hints: mode }, 'row 7', cells);
  const hints = Uint32Array.from(frames.flatMap((frame) => [...hintsOf(frame, hintBytes)]));

  it('repeat as often as random values, within 3 sigma', () => {
    // Two hints are equal when their values are (1 in 2^24), or when two values share a code of 3 or 4 bytes.
    const codes = 2 ** (8 * hintBytes);
    const chance = 1 / VALUES + (1 - 1 / VALUES) / codes;
    const expected = (hints.length * (hints.length - 1) * chance) / 2;
    expect(hints.length).toBeGreaterThan(290_000);
    expect(expected).toBeGreaterThan(2_500);
    expect(Math.abs(equalPairs(hints) - expected)).toBeLessThan(3 * Math.sqrt(expected));
  });

  it('reveal nothing of one half of the file to an attacker who knows the other half', () => {
    expect(readByCodebook(hints)).toBeLessThan(0.001);
  });
});
