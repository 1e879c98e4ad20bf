import { sleep } from '@millrace/base';
import type { Session } from '@millrace/client';
import { noisyGcode } from '@millrace/testkit/designs';
import { license, order, store, untilEnded, untilPrint } from '@millrace/testkit/job';
import { factorFor } from '@millrace/testkit/pace';
import { createTestInstallation, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterEach, describe, expect, it } from 'vitest';

let system: TestInstallation | undefined;
afterEach(async () => {
  await system?.close();
  system = undefined;
});

/** The keys node's last report to control, as `millrace status` shows it. */
async function told(session: Session): Promise<Readonly<Record<string, unknown>>> {
  const { maintenance } = await session.api.status();
  return (maintenance ?? {}) as Readonly<Record<string, unknown>>;
}

async function untilTold(
  session: Session,
  wanted: (report: Readonly<Record<string, unknown>>) => boolean,
): Promise<Readonly<Record<string, unknown>>> {
  const end = performance.now() + 180_000;
  for (;;) {
    const report = await told(session);
    if (wanted(report)) return report;
    if (performance.now() > end) throw new Error(`the last report is ${JSON.stringify(report)}`);
    await sleep(50);
  }
}

const design = noisyGcode(500_000);

describe('maintenance', () => {
  it.each(['rekey', 'delta'] as const)(
    'in mode %s continues during a print, and the part is correct',
    async (maintenance) => {
      system = await createTestInstallation({
        machine: { factor: await factorFor(design, 8) },
        maintenance: { periodMs: 1_000, density: 50 },
      });
      const owner = await system.session('owner');
      const operator = await system.session('operator');
      const stored = await store(system, owner, design, { maintenance });
      const licence = await license(system, owner, stored.design, 1);
      const print = await order(system, operator, licence);
      await untilPrint(operator, print, ({ progress }) => (progress?.acked ?? 0) > 0);
      const before = Number((await told(owner)).epoch ?? 0);
      const { state } = await untilEnded(operator, print, 90_000);
      expect(state).toBe('completed');
      const after = await untilTold(owner, ({ epoch }) => Number(epoch) >= before + 3);
      expect(after.problems).toBe(0);
    },
  );

  it('limited by its budget reports the limit and the period that it achieves', async () => {
    system = await createTestInstallation({
      start: ['control', 'distribution', 'segments', 'keys'],
      maintenance: { periodMs: 1_000, density: 50, budget: { bytesPerSecond: 300_000 } },
    });
    const owner = await system.session('owner');
    await store(system, owner, design);
    // 31 cells and as many decoys: 1 MB, 3.4 s. The sweep that starts while they are stored is shorter.
    const report = await untilTold(
      owner,
      ({ reachedPeriodMs, progress, heldBackBy }) =>
        Number(reachedPeriodMs) > 3_000 && progress === 1 && heldBackBy === 'bytesPerSecond',
    );
    expect(report).toMatchObject({ periodMs: 1_000, heldBackBy: 'bytesPerSecond', cells: 62, problems: 0 });
    expect(Number(report.reachedPeriodMs)).toBeLessThan(20_000);
  });
});
