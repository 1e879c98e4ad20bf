import { type Bytes, sleep, toHex } from '@millrace/base';
import { ownDesign, ownDesignSecret } from '@millrace/client';
import { keysOf, opened } from '@millrace/testkit/adversary/coalition';
import { type Licensed, licensed } from '@millrace/testkit/adversary/honest';
import { type HostileInstallation, openHostileInstallation } from '@millrace/testkit/adversary/hostile-installation';
import { applyOuterLayer, type SliceCell } from '@millrace/vault';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// Row 2: cells copied in one epoch, and the playbook of another. Real nodes sweep. The thief even has the owner's
// design secret, so that failures are due to the epoch only.

const SEGMENTS = 6;
interface Epoch {
  readonly slice: readonly SliceCell[];
  /** All cells of the vault, real or decoy, by place. */
  readonly cells: ReadonlyMap<string, Bytes>;
}

let system: HostileInstallation;
let job: Licensed;
let secret: Bytes;
const epochs: Epoch[] = [];

beforeAll(async () => {
  system = await openHostileInstallation({ periodMs: 400 });
  job = await licensed(system, 1, SEGMENTS);
  secret = await ownDesignSecret(system.owner, await ownDesign(system.owner, job.design));
  let last = 0;
  while (epochs.length < 3) {
    const { epoch, sweep } = system.nodes.keys.parts.playbook.status();
    if (sweep === undefined && epoch !== last) {
      const copied = await copy();
      // A sweep that started meanwhile would mix two epochs.
      const now = system.nodes.keys.parts.playbook.status();
      if (now.sweep === undefined && now.epoch === epoch) {
        epochs.push(copied);
        last = epoch;
      }
    }
    await sleep(10);
  }
});
afterAll(() => system?.close());

async function copy(): Promise<Epoch> {
  const slice = await keysOf(system, job);
  const cells = new Map<string, Bytes>();
  for (const { index } of slice) {
    const body = await system.nodes.segments.parts.cells.read(index).catch(() => undefined);
    if (body !== undefined) cells.set(toHex(index), body);
  }
  return { slice, cells };
}

/** The number of segments that open: each with the cell at the playbook's place, otherwise with any cell. */
async function openedWith({ cells }: Epoch, { slice }: Epoch): Promise<number> {
  const bodies = [...cells.values()];
  const sealed = await Promise.all(
    slice.map(async ({ index, outerKey, segment }) => {
      const there = cells.get(toHex(index));
      if (there !== undefined) return applyOuterLayer(outerKey, there);
      for (const body of bodies) {
        const tried = applyOuterLayer(outerKey, body);
        const one = slice.map((_, i) => (i === segment ? tried : new Uint8Array(tried.length)));
        if ((await opened(system, job, one, [secret])) > 0) return tried;
      }
      return new Uint8Array(16_386);
    }),
  );
  return opened(system, job, sealed, [secret]);
}

describe('stolen cells with a stolen playbook', () => {
  it('of the same epoch open everything', async () => {
    for (const epoch of epochs) expect(await openedWith(epoch, epoch)).toBe(SEGMENTS);
  });

  it('of different epochs open nothing', async () => {
    for (const [i, cells] of epochs.entries())
      for (const [j, playbook] of epochs.entries()) if (i !== j) expect(await openedWith(cells, playbook)).toBe(0);
  });
});
