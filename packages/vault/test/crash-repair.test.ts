import { makeUpload, type Upload, VaultFixture } from '@millrace/testkit/vault/vault-fixture';
import { describe, expect, it } from 'vitest';
import { CONTENT_BYTES } from '../src/index.ts';

// A repair: some cells are lost, and the owner's sealed segments are stored again at their current places.

async function repair(fixture: VaultFixture, upload: Upload, segments: readonly number[]): Promise<void> {
  for (const from of segments) {
    fixture.toKeys.send({ type: 'want', design: Buffer.from(upload.designId, 'hex'), from, count: 1 });
    await fixture.survive(() => fixture.stepKeys());
    await fixture.survive(() => fixture.stepCells());
  }
}

describe('killed at every durable write of a repair, in memory', () => {
  it.each(['at rest', 'during a sweep'])('%s: a repeated repair completes it, and the check is clean', async (when) => {
    let kills = 0;
    for (const side of ['keysFuse', 'cellsFuse'] as const) {
      for (const moment of ['before', 'after'] as const) {
        for (let nth = 1, reached = true; reached; nth++) {
          const fixture = await VaultFixture.create({ density: 50, batch: 2, ackLag: 2 });
          const upload = await makeUpload(4 * CONTENT_BYTES);
          await fixture.add(upload);
          await fixture.settle();
          const lost = [0, 2];
          for (const segment of lost) {
            const [cell] = await fixture.playbook.slice(upload.designId, segment, segment + 1);
            await fixture.raw.cells.remove([cell?.index ?? new Uint8Array()]);
          }
          if (when !== 'at rest') {
            await fixture.playbook.beginSweep();
            await fixture.survive(() => fixture.tick());
          }
          fixture[side].writes = 0;
          fixture[side].arm(nth, moment);
          await repair(fixture, upload, lost);
          await fixture.settle();
          reached = fixture[side].writes >= nth;
          fixture[side].mend();
          if (reached) kills++;
          await repair(fixture, upload, lost); // as a restarted node does from its records
          await fixture.settle();
          await fixture.assertReadable();
          expect((await fixture.check()).problems, `${side} ${moment} ${nth}`).toEqual([]);
        }
      }
    }
    expect(kills).toBeGreaterThan(when === 'at rest' ? 1 : 15);
  });
});
