import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemRandom, toHex } from '@millrace/base';
import { openLmdb } from '@millrace/stores';
import { makeUpload, VaultFixture, type VaultFixtureOptions } from '@millrace/testkit/vault/vault-fixture';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CONTENT_BYTES, openSlots } from '../src/index.ts';

const size = (segments: number) => segments * CONTENT_BYTES - 7;

describe('the life of a design', () => {
  it('is stored among decoys, renewed, read, deleted, and gone after the next sweep', async () => {
    const fixture = await VaultFixture.create({ density: 40, batch: 4 });
    const a = await makeUpload(size(5));
    const b = await makeUpload(1);
    await fixture.add(a);
    await fixture.add(b);
    await fixture.settle();
    expect(fixture.playbook.status()).toMatchObject({ epoch: 1, designs: 2, cells: 15, decoys: 9, decoysWanted: 9 });
    expect(await fixture.countCells()).toBe(15);
    await fixture.assertReadable();
    expect(await fixture.check()).toMatchObject({ clean: true, cells: 15, designs: 2 });

    const before = await placesOf(fixture);
    await fixture.sweep();
    expect(fixture.playbook.status().epoch).toBe(2);
    const after = await placesOf(fixture);
    expect(after.filter((index) => before.includes(index))).toEqual([]);
    expect(await fixture.countCells()).toBe(15);
    await fixture.assertReadable();

    await fixture.delete(a.designId);
    await expect(fixture.playbook.slice(a.designId, 0, 1)).rejects.toMatchObject({ code: 'E_NOT_FOUND' });
    await expect(fixture.playbook.addDesign({ manifest: a.manifest, keys: a.ceks })).rejects.toMatchObject({
      code: 'E_CONFLICT',
    });
    await fixture.sweep();
    expect(await fixture.countCells()).toBe(1 + 2);
    expect(await fixture.check()).toMatchObject({ clean: true, cells: 3 });
    expect(fixture.problems).toEqual([]);
    await fixture.add(a); // the same bytes may be stored again
    await fixture.settle();
    await fixture.assertReadable();
  });

  it('can store a design during a sweep', async () => {
    const fixture = await VaultFixture.create({ density: 100, batch: 2 });
    await fixture.add(await makeUpload(size(6)));
    await fixture.settle();
    await fixture.playbook.beginSweep();
    await fixture.tick();
    await fixture.stepCells();
    const late = await makeUpload(size(8));
    await fixture.add(late);
    await fixture.stepKeys();
    await fixture.stepKeys();
    await fixture.settle();
    await fixture.assertReadable();
    expect(await fixture.check()).toMatchObject({ clean: true, cells: 14 });
    expect(await fixture.countCells()).toBe(14);
  });

  it('keeps the density when the setting changes, in both directions', async () => {
    const fixture = await VaultFixture.create({ density: 50 });
    await fixture.add(await makeUpload(size(10)));
    await fixture.settle();
    expect(fixture.playbook.status().decoys).toBe(10);
    fixture.density = 10;
    await fixture.startKeys();
    await fixture.settle();
    expect(fixture.playbook.status().decoys).toBe(90);
    fixture.density = 80;
    await fixture.startKeys();
    await fixture.sweep();
    expect(fixture.playbook.status().decoys).toBe(3);
    expect(await fixture.countCells()).toBe(13);
    expect(await fixture.check()).toMatchObject({ clean: true });
  });

  it('ignores a late repeated message about cells that are gone', async () => {
    const fixture = await VaultFixture.create({ density: 100 });
    const upload = await makeUpload(size(3));
    await fixture.add(upload);
    await fixture.stepKeys();
    const instruction = fixture.toCells.take();
    await fixture.settle();
    await fixture.delete(upload.designId);
    await fixture.sweep();
    const { manifest, ceks: keys } = upload;
    await fixture.playbook.addDesign({ manifest, keys });
    if (instruction?.type !== 'store') throw new Error('not a store message');
    const { design, generation, from, cells } = instruction;
    await fixture.playbook.instruct({ design, from: 0, count: 3 });
    expect(
      await fixture.playbook.stored({ type: 'stored', design, generation, from, count: cells.length }),
    ).toBeUndefined();
    expect(fixture.playbook.design(upload.designId).stored).toBe(0);
  });

  it('needs a density above 0; a design is added once, with all of its keys', async () => {
    const upload = await makeUpload(10);
    const hollow = await VaultFixture.create({ density: 0, minimumDecoys: 4 });
    await hollow.settle();
    expect(await hollow.countCells()).toBe(4);
    const { manifest, ceks: keys } = upload;
    await expect(hollow.playbook.addDesign({ manifest, keys })).rejects.toMatchObject({ code: 'E_STATE' });
    const fixture = await VaultFixture.create();
    await fixture.add(upload);
    expect(await fixture.playbook.addDesign({ manifest, keys })).toBe(false);
    await expect(fixture.playbook.slice(upload.designId, 0, 1)).rejects.toMatchObject({ code: 'E_UPLOAD' });
    await expect(
      fixture.playbook.addDesign({ manifest: (await makeUpload(20)).manifest, keys: new Uint8Array(5) }),
    ).rejects.toMatchObject({ code: 'E_INPUT' });
  });
});

async function placesOf(fixture: VaultFixture): Promise<string[]> {
  const places: string[] = [];
  for await (const { index } of fixture.raw.cells.outline()) places.push(toHex(index));
  return places;
}

type Action =
  | { do: 'add'; segments: number }
  | { do: 'delete' | 'want'; which: number }
  | { do: 'tick' | 'cells' | 'keys' | 'sweep' | 'settle' | 'check' }
  | { do: 'kill keys' | 'kill cells'; at: number; when: 'before' | 'after' }
  | { do: 'density'; percent: number };

const simple = (name: 'tick' | 'cells' | 'keys' | 'sweep' | 'settle' | 'check') => fc.constant<Action>({ do: name });
const kill = (name: 'kill keys' | 'kill cells') =>
  fc
    .record({ at: fc.integer({ min: 1, max: 5 }), when: fc.constantFrom('before' as const, 'after' as const) })
    .map((rest): Action => ({ do: name, ...rest }));
const action: fc.Arbitrary<Action> = fc.oneof(
  { weight: 2, arbitrary: fc.integer({ min: 1, max: 7 }).map((segments): Action => ({ do: 'add', segments })) },
  { weight: 1, arbitrary: fc.nat(5).map((which): Action => ({ do: 'delete', which })) },
  { weight: 1, arbitrary: fc.nat(5).map((which): Action => ({ do: 'want', which })) },
  { weight: 4, arbitrary: simple('tick') },
  { weight: 6, arbitrary: simple('cells') },
  { weight: 6, arbitrary: simple('keys') },
  { weight: 3, arbitrary: simple('sweep') },
  { weight: 1, arbitrary: simple('settle') },
  { weight: 1, arbitrary: simple('check') },
  { weight: 3, arbitrary: kill('kill keys') },
  { weight: 3, arbitrary: kill('kill cells') },
  { weight: 1, arbitrary: fc.constantFrom(20, 50, 100).map((percent): Action => ({ do: 'density', percent })) },
);

async function perform(fixture: VaultFixture, action: Action): Promise<void> {
  const pick = (which: number) => {
    const living = fixture.playbook.designs();
    return living[which % Math.max(1, living.length)]?.design;
  };
  if (action.do === 'add') await fixture.add(await makeUpload(size(action.segments)));
  else if (action.do === 'delete') {
    const design = pick(action.which);
    if (design !== undefined) await fixture.survive(() => fixture.delete(design));
  } else if (action.do === 'want') {
    const design = pick(action.which);
    if (design !== undefined) fixture.want(design, 5);
  } else if (action.do === 'tick') await fixture.survive(() => fixture.tick());
  else if (action.do === 'cells') await fixture.survive(() => fixture.stepCells());
  else if (action.do === 'keys') await fixture.survive(() => fixture.stepKeys());
  else if (action.do === 'sweep') await fixture.survive(() => fixture.beginSweep());
  else if (action.do === 'settle') await fixture.settle();
  else if (action.do === 'kill keys') fixture.keysFuse.arm(action.at, action.when);
  else if (action.do === 'kill cells') fixture.cellsFuse.arm(action.at, action.when);
  else if (action.do === 'density') {
    fixture.density = action.percent;
    while (!(await fixture.survive(() => fixture.startKeys())));
  } else if (action.do === 'check') {
    // During other work: whatever waits in the mail, all expected cells exist and none is damaged.
    const run = await fixture.playbook.beginCheck({ deep: true });
    run?.end();
    if (run === undefined || fixture.toCells.length > 0) return;
    const { problems } = await fixture.check();
    expect(problems.filter(({ kind }) => kind !== 'extra')).toEqual([]);
  }
}

/** Runs the whole life cycle against the simplest model: a list of designs and their bytes. */
async function live(options: VaultFixtureOptions, actions: readonly Action[]): Promise<void> {
  const fixture = await VaultFixture.create(options);
  for (const one of actions) {
    await perform(fixture, one);
    await fixture.assertReadable();
  }
  fixture.keysFuse.mend();
  fixture.cellsFuse.mend();
  await fixture.settle();
  await fixture.sweep();
  expect(fixture.problems).toEqual([]);
  await fixture.assertReadable();
  const living = [...fixture.uploads.keys()].filter((design) => !fixture.deleted.has(design));
  const listed = fixture.playbook.designs().map(({ design }) => design);
  // A deletion that was killed may have happened or not. Everything else must match.
  expect(listed.every((design) => fixture.uploads.has(design))).toBe(true);
  expect(listed.filter((design) => fixture.deleted.has(design))).toEqual([]);
  expect(listed.length).toBeLessThanOrEqual(living.length);
  const report = await fixture.check();
  expect(report.problems).toEqual([]);
  expect(await fixture.countCells()).toBe(report.cells);
}

/** A cell is stored in the new epoch only. A kill follows before another write contains the step's commit. */
const storedAfterACommit: Action[] = [
  { do: 'sweep' },
  { do: 'tick' },
  { do: 'keys' },
  { do: 'cells' },
  { do: 'keys' },
  { do: 'add', segments: 1 },
  { do: 'keys' },
  { do: 'cells' },
  { do: 'keys' },
  { do: 'density', percent: 20 },
];

describe('any sequence of storing, sweeping, deleting and killing', () => {
  it('loses no cell, duplicates none, and leaves none behind', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.record({
          batch: fc.integer({ min: 1, max: 5 }),
          ackLag: fc.nat(3),
          density: fc.constantFrom(30, 50, 100),
          lanes: fc.constantFrom(1, 1, 4, 64),
        }),
        fc.array(action, { minLength: 5, maxLength: 60 }),
        live,
      ),
      { numRuns: Number(process.env.MILLRACE_RUNS ?? 120) },
    );
  });

  it('also over LMDB and files', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(action, { minLength: 20, maxLength: 50 }), async (actions) => {
        const folder = mkdtempSync(join(tmpdir(), 'millrace vault-'));
        const lmdb = openLmdb({ path: join(folder, 'lmdb') });
        const epochSlots = await openSlots(join(folder, 'epoch.keys'));
        const designSlots = await openSlots(join(folder, 'design.keys'));
        try {
          const stores = {
            keys: lmdb.log('keys'),
            cells: lmdb.cells('cells'),
            epochSlots,
            designSlots,
            kek: systemRandom(32),
          };
          await live({ batch: 3, ackLag: 2, density: 50, stores }, actions);
        } finally {
          await lmdb.close();
          await epochSlots.close();
          await designSlots.close();
          rmSync(folder, { recursive: true });
        }
      }),
      { numRuns: 10, examples: [[storedAfterACommit]] },
    );
  });
});
