import { toHex } from '@millrace/base';
import { makeUpload, VaultFixture } from '@millrace/testkit/vault/vault-fixture';
import { describe, expect, it } from 'vitest';
import { CONTENT_BYTES, encodeMessage, type MaintainMessage } from '../src/index.ts';

/** The next message of a step, and the same message when it is repeated. */
async function nextTwice(
  fixture: VaultFixture,
  limit: number,
): Promise<{ first: MaintainMessage; bytes: string; repeated: string }> {
  const first = await fixture.playbook.nextMaintenance(limit);
  if (first === undefined) throw new Error('the sweep has ended');
  const bytes = toHex(encodeMessage(first));
  const again = await fixture.playbook.nextMaintenance(limit);
  return { first, bytes, repeated: again === undefined ? '' : toHex(encodeMessage(again)) };
}

async function answered(fixture: VaultFixture, message: MaintainMessage): Promise<void> {
  await fixture.playbook.maintained(await fixture.cells.maintain(message));
}

/** A sweep whose first message is in flight, and whose second is computed. */
async function begun(): Promise<{ fixture: VaultFixture; first: MaintainMessage; designs: string[] }> {
  const fixture = await VaultFixture.create({ density: 50 });
  const designs: string[] = [];
  for (const mode of ['rekey', 'delta'] as const) {
    const upload = await makeUpload(20 * CONTENT_BYTES, undefined, mode);
    await fixture.add(upload);
    designs.push(upload.designId);
  }
  await fixture.settle();
  await fixture.playbook.beginSweep();
  await fixture.playbook.lookAhead(30);
  const { first, bytes, repeated } = await nextTwice(fixture, 30);
  expect(bytes).toBe(repeated);
  await fixture.playbook.lookAhead(200);
  return { fixture, first, designs };
}

describe('a message computed in advance', () => {
  it('equals the message computed in turn', async () => {
    const { fixture, first } = await begun();
    await answered(fixture, first);
    const { first: second, bytes, repeated } = await nextTwice(fixture, 200);
    expect(second.items.count + second.masked.count).toBe(50);
    expect(bytes).toBe(repeated);
    await answered(fixture, second);
    await fixture.settle();
    await fixture.assertReadable();
  });

  it('is recomputed without a deleted design’s cells', async () => {
    const { fixture, first, designs } = await begun();
    await fixture.delete(designs[1] ?? '');
    await answered(fixture, first);
    const { first: second, bytes, repeated } = await nextTwice(fixture, 200);
    expect(second.items.count + second.masked.count).toBeLessThan(50);
    expect(bytes).toBe(repeated);
  });

  it('is recomputed with newly stored cells', async () => {
    const { fixture, first } = await begun();
    await answered(fixture, first);
    await fixture.add(await makeUpload(5 * CONTENT_BYTES));
    for (let left = 10; left > 0; left--) {
      await fixture.stepCells();
      await fixture.stepKeys();
    }
    const { first: second, bytes, repeated } = await nextTwice(fixture, 200);
    expect(second.items.count + second.masked.count).toBeGreaterThan(50);
    expect(bytes).toBe(repeated);
    await answered(fixture, second);
    await fixture.settle();
    await fixture.assertReadable();
  });

  it('with another size than requested is recomputed', async () => {
    const { fixture, first } = await begun();
    await answered(fixture, first);
    const { first: second, bytes, repeated } = await nextTwice(fixture, 7);
    expect(second.items.count + second.masked.count).toBe(7);
    expect(bytes).toBe(repeated);
  });
});
