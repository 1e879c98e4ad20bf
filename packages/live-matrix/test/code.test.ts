import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { layoutBlocks, parityBytes, totalParityBytes } from '../src/code/layout.ts';
import { parityOf } from '../src/code/parity.ts';
import { type Candidates, solveBlock } from '../src/code/solve.ts';

const anyMode = fc.constantFrom('dense' as const, 'sparse' as const);

describe('blocks', () => {
  it('cover all hints in order, differ by one at most, and are as few as allowed', () => {
    fc.assert(
      fc.property(
        anyMode,
        fc.integer({ min: 1, max: 65535 }),
        fc.integer({ min: 1, max: 342 }),
        (mode, hints, most) => {
          const blocks = layoutBlocks(mode, hints, most);
          let next = 0;
          let parityAt = 0;
          let inOrder = true;
          for (const block of blocks) {
            inOrder &&= block.first === next && block.parityAt === parityAt;
            next += block.hints;
            parityAt += block.parityBytes;
          }
          expect(inOrder).toBe(true);
          expect(next).toBe(hints);
          expect(totalParityBytes(blocks)).toBe(parityAt);
          const sizes = blocks.map((block) => block.hints);
          expect(Math.max(...sizes)).toBeLessThanOrEqual(most);
          expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
          expect(blocks.length).toBe(Math.ceil(hints / most));
        },
      ),
    );
  });

  it('never need more parity than a column has', () => {
    for (let hints = 1; hints <= 342; hints++) expect(parityBytes('dense', hints)).toBeLessThanOrEqual(64);
    expect(parityBytes('dense', 171)).toBe(32);
    expect(parityBytes('dense', 342)).toBe(57);
  });
});

/** The true value of each hint among false ones. At most as many false ones as hints, so that the parity suffices. */
function candidatesOf(truth: readonly number[], falseOnes: readonly (readonly number[])[]): Candidates {
  let left = truth.length;
  const lists = truth.map((value, i) => {
    const others = [...new Set(falseOnes[i] ?? [])].filter((other) => other !== value).slice(0, left);
    left -= others.length;
    return [...others.slice(0, others.length >> 1), value, ...others.slice(others.length >> 1)];
  });
  const starts = new Uint32Array(truth.length + 1);
  for (const [i, list] of lists.entries()) starts[i + 1] = (starts[i] ?? 0) + list.length;
  return { starts, values: Uint32Array.from(lists.flat()) };
}

const value24 = fc.integer({ min: 0, max: 2 ** 24 - 1 });
const anyBlock = fc
  .integer({ min: 1, max: 150 })
  .chain((size) =>
    fc.tuple(
      fc.array(value24, { minLength: size, maxLength: size }),
      fc.array(fc.array(value24, { maxLength: 2 }), { minLength: size, maxLength: size }),
    ),
  );

describe('solving', () => {
  const solve = (truth: readonly number[], candidates: Candidates, change: (parity: Uint8Array) => void = () => {}) => {
    const blocks = layoutBlocks('dense', truth.length, 342);
    const parity = parityOf(Uint32Array.from(truth), 24, blocks);
    change(parity);
    const out = new Uint32Array(truth.length);
    const [block] = blocks;
    return block !== undefined && solveBlock(candidates, 24, block, parity, out) ? [...out] : undefined;
  };

  it('finds the true values among the false', () => {
    fc.assert(
      fc.property(anyBlock, ([truth, falseOnes]) => {
        expect(solve(truth, candidatesOf(truth, falseOnes))).toEqual(truth);
      }),
    );
  });

  it('rejects the parity of other values', () => {
    fc.assert(
      fc.property(anyBlock, fc.nat(), ([truth, falseOnes], at) => {
        const wrong = solve(truth, candidatesOf(truth, falseOnes), (parity) => {
          const place = at % parity.length;
          parity[place] = (parity[place] ?? 0) ^ 1;
        });
        expect(wrong).toBeUndefined();
      }),
    );
  });

  it('rejects a hint without candidates', () => {
    const { values } = candidatesOf([1, 2], []);
    expect(solve([1, 2], { starts: Uint32Array.of(0, 0, 2), values })).toBeUndefined();
  });

  it('finds the one valid solution when four candidates of a hint add up to 0', () => {
    for (const truth of [5, 9, 1000, 5 ^ 9 ^ 1000]) {
      const candidates = {
        starts: Uint32Array.of(0, 4, 6, 10),
        values: Uint32Array.of(5, 9, 1000, 5 ^ 9 ^ 1000, 7, 8, 1, 2, 4, 7),
      };
      expect(solve([truth, 8, 4], candidates)).toEqual([truth, 8, 4]);
    }
  });

  it('rejects two choices with the same parity', () => {
    // The same value occurs twice in a list: nothing distinguishes the two.
    const candidates = { starts: Uint32Array.of(0, 2, 3), values: Uint32Array.of(5, 5, 9) };
    expect(solve([5, 9], candidates)).toBeUndefined();
  });

  it('rejects a solution that takes two candidates for one hint', () => {
    // 1 ⊕ 2 ⊕ 4 = 7 is in no list. Taking both 2 and 4 for the first hint has the parity of 7.
    const candidates = { starts: Uint32Array.of(0, 3), values: Uint32Array.of(1, 2, 4) };
    expect(solve([7], candidates)).toBeUndefined();
    expect(solve([4], candidates)).toEqual([4]);
  });

  it('rejects more unknowns than equations', () => {
    const truth = Array.from({ length: 10 }, (_, i) => i);
    const lists = truth.map((value, i) => [value, ...Array.from({ length: 9 }, (_, j) => 1000 + 20 * i + j)]);
    const candidates = {
      starts: Uint32Array.from({ length: 11 }, (_, i) => 10 * i),
      values: Uint32Array.from(lists.flat()),
    };
    expect(solve(truth, candidates)).toBeUndefined();
  });
});
