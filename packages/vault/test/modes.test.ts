import { describe, expect, it } from 'vitest';
import { CONTENT_BYTES, type MaintainMessage } from '../src/index.ts';
import { makeUpload, World } from './world.ts';

/** Sweeps once and says how many cells went by mask, and how many by keys. */
async function sweepCounted(world: World): Promise<{ masked: number; items: number }> {
  await world.playbook.beginSweep();
  const seen = { masked: 0, items: 0 };
  let step: MaintainMessage | undefined = await world.playbook.nextMaintenance();
  for (; step !== undefined; step = await world.playbook.nextMaintenance()) {
    seen.masked += step.masked.count;
    seen.items += step.items.count;
    await world.playbook.maintained(await world.cells.maintain(step));
  }
  return seen;
}

describe('the owner’s later choice of the mode', () => {
  it('counts from the next sweep on, the newest wish only, whatever order they come in and over a restart', async () => {
    const world = await World.create({ density: 100 });
    const upload = await makeUpload(3 * CONTENT_BYTES);
    await world.add(upload);
    await world.settle();
    await world.playbook.beginSweep();
    expect(await world.playbook.setMode(upload.designId, 'delta', 1_000)).toBe('delta');
    await world.startKeys();
    expect(await sweepCounted(world)).toEqual({ masked: 0, items: 3 }); // the one that was under way
    expect(await sweepCounted(world)).toEqual({ masked: 3, items: 0 });
    await world.startKeys();
    expect(await sweepCounted(world)).toEqual({ masked: 3, items: 0 });
    for (const issued of [999, 1_000])
      expect(await world.playbook.setMode(upload.designId, 'rekey', issued)).toBe('delta');
    expect(await sweepCounted(world)).toEqual({ masked: 3, items: 0 });
    expect(await world.playbook.setMode(upload.designId, 'rekey', 1_001)).toBe('rekey');
    expect(await sweepCounted(world)).toEqual({ masked: 0, items: 3 });
    await world.assertReadable();
    expect((await world.check()).clean).toBe(true);
  });

  it('is not taken for a design that is not here', async () => {
    const world = await World.create();
    await expect(world.playbook.setMode('00'.repeat(16), 'delta', 1)).rejects.toMatchObject({ code: 'E_NOT_FOUND' });
  });

  it('sweeps of a vault without cells have a message, too: the segments node sees every epoch', async () => {
    const world = await World.create();
    for (let to = 2; to < 5; to++) {
      await world.playbook.beginSweep();
      const step = await world.playbook.nextMaintenance();
      expect(step).toMatchObject({ to, number: 1 });
      if (step !== undefined) await world.playbook.maintained(await world.cells.maintain(step));
      expect(await world.playbook.nextMaintenance()).toBeUndefined();
      expect(world.playbook.status().epoch).toBe(to);
    }
  });
});
