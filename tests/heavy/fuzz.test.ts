import { writeFileSync } from 'node:fs';
import { fuzz } from '@millrace/testkit/fuzz/run';
import type { Cost } from '@millrace/testkit/fuzz/target';
import { afterAll, describe, expect, it } from 'vitest';
import { allTargets } from '../fuzz/targets/all.ts';

// Millions of inputs. MILLRACE_FUZZ sets the number per cheap target (others get a share). MILLRACE_SEED repeats a run.

const each = Number(process.env.MILLRACE_FUZZ ?? 75_000);
const share: Readonly<Record<Cost, number>> = { cheap: 1, middling: 1 / 4, dear: 1 / 75, 'very dear': 1 / 500 };
const seed = Number(process.env.MILLRACE_SEED ?? Date.now() % 2 ** 31);

const { targets, close } = await allTargets();
let total = 0;
afterAll(async () => {
  await close();
  console.log(`${targets.length} targets, ${total} inputs, seed ${seed}`);
});

describe(`seed ${seed}`, () => {
  it.each(targets.map((target) => [target.name, target] as const))(
    '%s',
    { timeout: 3_600_000 },
    async (name, target) => {
      const inputs = Math.max(1, Math.round(each * share[target.cost]));
      const { codes, accepted, slowest } = await fuzz(target, inputs, seed);
      total += inputs;
      const line = `${name}: ${inputs} inputs, ${accepted} accepted, ${JSON.stringify(codes)}, slowest ${slowest.toFixed(0)} ms`;
      console.log(line);
      if (process.env.MILLRACE_FIGURES) writeFileSync(process.env.MILLRACE_FIGURES, `${line}\n`, { flag: 'a' });
      expect(inputs).toBeGreaterThan(0);
    },
  );
});
