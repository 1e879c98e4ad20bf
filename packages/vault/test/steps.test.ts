import { toHex } from '@millrace/base';
import { describe, expect, it } from 'vitest';
import { CONTENT_BYTES, encodeMessage, type MaintainMessage } from '../src/index.ts';
import { makeUpload, World } from './world.ts';

/** The next message as it comes, and as it is made anew for the same step. */
async function nextTwice(
  world: World,
  limit: number,
): Promise<{ first: MaintainMessage; bytes: string; anew: string }> {
  const first = await world.playbook.nextMaintenance(limit);
  if (first === undefined) throw new Error('the sweep has ended');
  const bytes = toHex(encodeMessage(first));
  const again = await world.playbook.nextMaintenance(limit);
  return { first, bytes, anew: again === undefined ? '' : toHex(encodeMessage(again)) };
}

async function answered(world: World, message: MaintainMessage): Promise<void> {
  await world.playbook.maintained(await world.cells.maintain(message));
}

/** A sweep whose first message is under way, and whose second is made. */
async function begun(): Promise<{ world: World; first: MaintainMessage; designs: string[] }> {
  const world = await World.create({ density: 50 });
  const designs: string[] = [];
  for (const mode of ['rekey', 'delta'] as const) {
    const upload = await makeUpload(20 * CONTENT_BYTES, undefined, mode);
    await world.add(upload);
    designs.push(upload.designId);
  }
  await world.settle();
  await world.playbook.beginSweep();
  await world.playbook.lookAhead(30);
  const { first, bytes, anew } = await nextTwice(world, 30);
  expect(bytes).toBe(anew);
  await world.playbook.lookAhead(200);
  return { world, first, designs };
}

describe('a message made ahead', () => {
  it('is the one that its turn would make', async () => {
    const { world, first } = await begun();
    await answered(world, first);
    const { first: second, bytes, anew } = await nextTwice(world, 200);
    expect(second.items.count + second.masked.count).toBe(50);
    expect(bytes).toBe(anew);
    await answered(world, second);
    await world.settle();
    await world.assertReadable();
  });

  it('is made again when a design was deleted, and takes none of its cells along', async () => {
    const { world, first, designs } = await begun();
    await world.delete(designs[1] ?? '');
    await answered(world, first);
    const { first: second, bytes, anew } = await nextTwice(world, 200);
    expect(second.items.count + second.masked.count).toBeLessThan(50);
    expect(bytes).toBe(anew);
  });

  it('is made again when cells were stored, and takes them along', async () => {
    const { world, first } = await begun();
    await answered(world, first);
    await world.add(await makeUpload(5 * CONTENT_BYTES));
    for (let left = 10; left > 0; left--) {
      await world.stepCells();
      await world.stepKeys();
    }
    const { first: second, bytes, anew } = await nextTwice(world, 200);
    expect(second.items.count + second.masked.count).toBeGreaterThan(50);
    expect(bytes).toBe(anew);
    await answered(world, second);
    await world.settle();
    await world.assertReadable();
  });

  it('of another size than is asked for is made again', async () => {
    const { world, first } = await begun();
    await answered(world, first);
    const { first: second, bytes, anew } = await nextTwice(world, 7);
    expect(second.items.count + second.masked.count).toBe(7);
    expect(bytes).toBe(anew);
  });
});
