import { fuzz } from '@millrace/testkit/fuzz/run';
import type { Cost } from '@millrace/testkit/fuzz/target';
import { afterAll, describe, expect, it } from 'vitest';
import { allTargets } from './targets/all.ts';

// Every decoder, with some thousand new inputs in every run. tests/heavy/fuzz.test.ts tries millions. A failure prints
// the seed and the input: MILLRACE_SEED repeats it.

const INPUTS: Readonly<Record<Cost, number>> = { cheap: 2_500, middling: 600, dear: 60, 'very dear': 15 };
const seed = Number(process.env.MILLRACE_SEED ?? Date.now() % 2 ** 31);

const { targets, close } = await allTargets();
afterAll(close);

describe(`seed ${seed}`, () => {
  it.each(targets.map((target) => [target.name, target] as const))('%s', async (_, target) => {
    const outcome = await fuzz(target, INPUTS[target.cost], seed);
    expect(outcome.refused + outcome.accepted).toBe(INPUTS[target.cost]);
    expect(outcome.refused + (typeof target.accepts === 'function' ? outcome.accepted : 0)).toBeGreaterThan(0);
  });
});
