import { oneOf } from '@millrace/testkit/share';
import { makeUpload, VaultFixture } from '@millrace/testkit/vault/vault-fixture';
import { describe, expect, it } from 'vitest';
import { CONTENT_BYTES, type MaintenanceMode } from '../src/index.ts';

// In memory, with the mail between the nodes. tests/heavy/vault-kills.test.ts kills real processes over files.

const mixes: [name: string, modes: readonly [MaintenanceMode, MaintenanceMode], lanes: number][] = [
  ['rekey', ['rekey', 'rekey'], 1],
  ['delta', ['delta', 'delta'], 1],
  ['both', ['rekey', 'delta'], 1],
  ['both, in four lanes', ['rekey', 'delta'], 4],
  ['key-homomorphic', ['key-homomorphic', 'delta'], 1],
];

describe.each(oneOf(mixes))(
  'killed at every durable write of storing, sweeping and deleting, in memory, mode %s',
  (_, modes, lanes) => {
    /** Runs `work` in fresh fixtures and kills either side at its 1st, 2nd, … write, until a run has fewer writes. */
    async function everywhere(work: (fixture: VaultFixture) => Promise<void>): Promise<number> {
      let kills = 0;
      for (const side of ['keysFuse', 'cellsFuse'] as const) {
        for (const when of ['before', 'after'] as const) {
          for (let nth = 1, reached = true; reached; nth++) {
            const fixture = await VaultFixture.create({ density: 50, batch: 2, ackLag: 2, lanes });
            await fixture.add(await makeUpload(3 * CONTENT_BYTES, undefined, modes[0]));
            await fixture.settle();
            fixture[side].writes = 0;
            fixture[side].arm(nth, when);
            await work(fixture);
            reached = fixture[side].writes >= nth;
            fixture[side].mend();
            if (reached) kills++;
            await fixture.settle();
            await fixture.assertReadable();
            expect(fixture.problems).toEqual([]);
            const report = await fixture.check();
            expect(report.problems, `${side} ${when} ${nth}`).toEqual([]);
            expect(await fixture.countCells()).toBe(report.cells);
          }
        }
      }
      return kills;
    }

    it('a sweep', async () => {
      const kills = await everywhere(async (fixture) => {
        while (!(await fixture.survive(() => fixture.beginSweep())));
        await fixture.settle();
        expect(fixture.playbook.status().epoch).toBeGreaterThanOrEqual(2);
      });
      expect(kills).toBeGreaterThan(20);
    });

    it('storing a second design during a sweep', async () => {
      const kills = await everywhere(async (fixture) => {
        const upload = await makeUpload(4 * CONTENT_BYTES, undefined, modes[1]);
        while (!(await fixture.survive(() => fixture.beginSweep())));
        await fixture.survive(() => fixture.tick());
        await fixture.add(upload);
        for (let i = 0; i < 4; i++) {
          await fixture.survive(() => fixture.stepKeys());
          await fixture.survive(() => fixture.stepCells());
        }
        await fixture.settle();
        expect(fixture.playbook.design(upload.designId).complete).toBe(true);
      });
      expect(kills).toBeGreaterThan(30);
    });

    it('deleting a design, then sweeping', async () => {
      const kills = await everywhere(async (fixture) => {
        const upload = await makeUpload(2 * CONTENT_BYTES, undefined, modes[1]);
        await fixture.add(upload);
        await fixture.settle();
        for (let done = false; !done; ) {
          done = await fixture.survive(async () => {
            if (fixture.playbook.designs().some(({ design }) => design === upload.designId))
              await fixture.delete(upload.designId);
          });
        }
        fixture.deleted.add(upload.designId);
        await fixture.settle();
        for (let i = 0; i < 2; i++) {
          while (!(await fixture.survive(() => fixture.beginSweep())));
          await fixture.settle();
        }
        expect(await fixture.countCells()).toBe(6);
        expect(fixture.playbook.designs()).toHaveLength(1);
      });
      expect(kills).toBeGreaterThan(30);
    });
  },
);
