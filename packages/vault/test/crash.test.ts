import { describe, expect, it } from 'vitest';
import { CONTENT_BYTES, type MaintenanceMode } from '../src/index.ts';
import { makeUpload, World } from './world.ts';

// In memory, with the mail between the nodes; over files, with processes that are killed: tests/heavy/vault-kills.test.ts.

const mixes: readonly (readonly [string, readonly [MaintenanceMode, MaintenanceMode]])[] = [
  ['rekey', ['rekey', 'rekey']],
  ['delta', ['delta', 'delta']],
  ['both', ['rekey', 'delta']],
  ['key-homomorphic', ['key-homomorphic', 'delta']],
];

describe.each(mixes)(
  'killed at every durable write of storing, sweeping and deleting, in memory, mode %s',
  (_, modes) => {
    /** Runs `work` in fresh worlds, killing either side at its 1st, 2nd, … write, until it needs no more. */
    async function everywhere(work: (world: World) => Promise<void>): Promise<number> {
      let kills = 0;
      for (const side of ['keysFuse', 'cellsFuse'] as const) {
        for (const when of ['before', 'after'] as const) {
          for (let nth = 1, reached = true; reached; nth++) {
            const world = await World.create({ density: 50, batch: 2, ackLag: 2 });
            await world.add(await makeUpload(3 * CONTENT_BYTES, undefined, modes[0]));
            await world.settle();
            world[side].writes = 0;
            world[side].arm(nth, when);
            await work(world);
            reached = world[side].writes >= nth;
            world[side].mend();
            if (reached) kills++;
            await world.settle();
            await world.assertReadable();
            expect(world.problems).toEqual([]);
            const report = await world.check();
            expect(report.problems, `${side} ${when} ${nth}`).toEqual([]);
            expect(await world.countCells()).toBe(report.cells);
          }
        }
      }
      return kills;
    }

    it('a sweep', async () => {
      const kills = await everywhere(async (world) => {
        while (!(await world.survive(() => world.playbook.beginSweep())));
        await world.settle();
        expect(world.playbook.status().epoch).toBeGreaterThanOrEqual(2);
      });
      expect(kills).toBeGreaterThan(20);
    });

    it('storing a second design during a sweep', async () => {
      const kills = await everywhere(async (world) => {
        const upload = await makeUpload(4 * CONTENT_BYTES, undefined, modes[1]);
        while (!(await world.survive(() => world.playbook.beginSweep())));
        await world.survive(() => world.tick());
        await world.add(upload);
        for (let i = 0; i < 4; i++) {
          await world.survive(() => world.stepKeys());
          await world.survive(() => world.stepCells());
        }
        await world.settle();
        expect(world.playbook.design(upload.designId).complete).toBe(true);
      });
      expect(kills).toBeGreaterThan(30);
    });

    it('deleting a design, then sweeping', async () => {
      const kills = await everywhere(async (world) => {
        const upload = await makeUpload(2 * CONTENT_BYTES, undefined, modes[1]);
        await world.add(upload);
        await world.settle();
        for (let done = false; !done; ) {
          done = await world.survive(async () => {
            if (world.playbook.designs().some(({ design }) => design === upload.designId))
              await world.delete(upload.designId);
          });
        }
        world.deleted.add(upload.designId);
        await world.settle();
        for (let i = 0; i < 2; i++) {
          while (!(await world.survive(() => world.playbook.beginSweep())));
          await world.settle();
        }
        expect(await world.countCells()).toBe(6);
        expect(world.playbook.designs()).toHaveLength(1);
      });
      expect(kills).toBeGreaterThan(30);
    });
  },
);
