import { createHash } from 'node:crypto';
import { type Bytes, compareBytes, u32be } from '@millrace/base';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { END, Plan, type PlanEntry, START } from '../src/plan.ts';

/** 20 bytes with few different prefixes when `bits` is small, so that ties occur. */
function indexOf(owner: string, segment: number, bits: number): Bytes {
  const hash = new Uint8Array(createHash('sha256').update(owner).update(u32be(segment)).digest().subarray(0, 20));
  for (let i = 0; i < 6; i++) hash[i] = i === 5 ? (hash[i] ?? 0) & ((1 << bits) - 1) : 0;
  return hash;
}

/** The entry without the plan's internal position. */
const named = ({ owner, segment, index }: PlanEntry<string>): PlanEntry<string> => ({ owner, segment, index });

describe('a plan', () => {
  it('stores the previous place of a cell, and computes it once', async () => {
    const plan = await Plan.build([{ owner: 'a', from: 0, to: 30 }], (owner, segment) => indexOf(owner, segment, 8));
    plan.add([{ owner: 'late', segment: 7, index: indexOf('late', 7, 8) }]);
    let computed = 0;
    for (let round = 0; round < 3; round++) {
      for (const entry of plan.between(START, END)) {
        const before = plan.before(entry, () => {
          computed++;
          return indexOf(`before ${entry.owner}`, entry.segment, 8);
        });
        expect(before).toEqual(indexOf(`before ${entry.owner}`, entry.segment, 8));
      }
    }
    expect(computed).toBe(30 + 3); // the late owner's entries are computed every time
  });

  it('returns every cell once, in order, whatever the order of insertion', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.nat(40), { maxLength: 5 }),
        fc.array(fc.nat(20), { maxLength: 3 }),
        fc.integer({ min: 0, max: 8 }),
        fc.integer({ min: 1, max: 50 }),
        async (built, late, bits, limit) => {
          const entries: PlanEntry<string>[] = [];
          const spans = built.map((to, i) => ({ owner: `o${i}`, from: 0, to }));
          for (const { owner, to } of spans)
            for (let s = 0; s < to; s++) entries.push({ owner, segment: s, index: indexOf(owner, s, bits) });
          const plan = await Plan.build(spans, (owner, segment) => indexOf(owner, segment, bits));
          for (const [i, count] of late.entries()) {
            const added = Array.from({ length: count }, (_, s) => ({
              owner: `late${i}`,
              segment: s,
              index: indexOf(`late${i}`, s, bits),
            }));
            plan.add(added);
            entries.push(...added);
          }
          entries.sort((a, b) => compareBytes(a.index, b.index));
          expect(plan.count).toBe(entries.length);
          expect(plan.between(START, END).map(named)).toEqual(entries);
          const walked: PlanEntry<string>[] = [];
          for (let low = START; ; low = walked.at(-1)?.index ?? END) {
            const page = plan.after(low, limit);
            walked.push(...page);
            if (page.length < limit) break;
          }
          expect(walked.map(named)).toEqual(entries);
          for (const [i, { index }] of entries.entries()) expect(plan.rank(index)).toBe(i + 1);
        },
      ),
      { numRuns: 150 },
    );
  });

  it('does not block the event loop while it is built', async () => {
    let turns = 0;
    const timer = setInterval(() => turns++, 0);
    await Plan.build([{ owner: 'a', from: 0, to: 20_000 }], (owner, segment) => indexOf(owner, segment, 8));
    clearInterval(timer);
    expect(turns).toBeGreaterThan(3);
  });
});
