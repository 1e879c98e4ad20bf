import { describe, expect, it } from 'vitest';
import { CONTENT_BYTES } from '../src/index.ts';
import { makeUpload, type Upload, World } from './world.ts';

// A repair: some cells are lost, the owner's sealed segments come once more, to their present places.

async function repair(world: World, upload: Upload, segments: readonly number[]): Promise<void> {
  for (const from of segments) {
    world.toKeys.send({ type: 'want', design: Buffer.from(upload.designId, 'hex'), from, count: 1 });
    await world.survive(() => world.stepKeys());
    await world.survive(() => world.stepCells());
  }
}

describe('killed at every durable write of a repair, in memory', () => {
  it.each(['at rest', 'during a sweep'])('%s: repaired again it is whole, and the check is clean', async (when) => {
    let kills = 0;
    for (const side of ['keysFuse', 'cellsFuse'] as const) {
      for (const moment of ['before', 'after'] as const) {
        for (let nth = 1, reached = true; reached; nth++) {
          const world = await World.create({ density: 50, batch: 2, ackLag: 2 });
          const upload = await makeUpload(4 * CONTENT_BYTES);
          await world.add(upload);
          await world.settle();
          const lost = [0, 2];
          for (const segment of lost) {
            const [cell] = await world.playbook.slice(upload.designId, segment, segment + 1);
            await world.raw.cells.delete(cell?.index ?? new Uint8Array());
          }
          if (when !== 'at rest') {
            await world.playbook.beginSweep();
            await world.survive(() => world.tick());
          }
          world[side].writes = 0;
          world[side].arm(nth, moment);
          await repair(world, upload, lost);
          await world.settle();
          reached = world[side].writes >= nth;
          world[side].mend();
          if (reached) kills++;
          await repair(world, upload, lost); // as a restarted node does with what it has written down
          await world.settle();
          await world.assertReadable();
          expect((await world.check()).problems, `${side} ${moment} ${nth}`).toEqual([]);
        }
      }
    }
    expect(kills).toBeGreaterThan(when === 'at rest' ? 1 : 15);
  });
});
