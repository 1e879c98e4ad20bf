import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemRandom, utf8 } from '@millrace/base';
import { MemoryLog } from '@millrace/stores';
import { makeUpload, VaultFixture } from '@millrace/testkit/vault/vault-fixture';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EpochKeys } from '../src/epochs.ts';
import { createKeyWrapper, MemorySlots, openFileKeyWrapper, openSlots, Playbook, type Slots } from '../src/index.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'millrace vault-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const holds = (bytes: Uint8Array, part: Uint8Array): boolean => Buffer.from(bytes).includes(Buffer.from(part));

describe('slots', () => {
  it.each([
    [
      'memory',
      async (): Promise<[Slots, () => Promise<Slots>]> => {
        const slots = new MemorySlots();
        return [slots, async () => slots];
      },
    ],
    [
      'file',
      async (): Promise<[Slots, () => Promise<Slots>]> => {
        const path = join(folder, 'slots');
        return [await openSlots(path), () => openSlots(path)];
      },
    ],
  ])('%s: keep, overwrite, erase, reopen', async (_, make) => {
    const [slots, reopen] = await make();
    expect(await slots.read(0)).toBeUndefined();
    await slots.write(2, utf8('two'));
    await slots.write(0, utf8('zero'));
    await slots.write(0, utf8('0'));
    expect(await slots.count()).toBe(3);
    expect([await slots.read(0), await slots.read(1), await slots.read(2)]).toEqual([
      utf8('0'),
      undefined,
      utf8('two'),
    ]);
    await slots.erase(2);
    await slots.erase(1);
    const again = await reopen();
    expect([await again.read(0), await again.read(2)]).toEqual([utf8('0'), undefined]);
    await expect(slots.write(0, new Uint8Array(128))).rejects.toMatchObject({ code: 'E_INTERNAL' });
    await slots.close();
    if (again !== slots) await again.close();
  });

  it('erase in place: nothing of an erased key is left in the file, and its length is unchanged', async () => {
    const path = join(folder, 'slots');
    const slots = await openSlots(path);
    const secret = systemRandom(61);
    await slots.write(1, secret);
    expect(holds(readFileSync(path), secret)).toBe(true);
    await slots.erase(1);
    expect(holds(readFileSync(path), secret.subarray(0, 8))).toBe(false);
    expect(statSync(path).size).toBe(256);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    await slots.close();
    await expect(openSlots(join(folder, 'no', 'such'))).rejects.toMatchObject({ code: 'E_STORE' });
  });
});

describe('the node’s key-encrypting key', () => {
  it('is created once, wraps for one context, and no other key unwraps', async () => {
    const path = join(folder, 'kek');
    const wrapper = await openFileKeyWrapper(path);
    const secret = systemRandom(32);
    const wrapped = await wrapper.wrap(secret, utf8('here'));
    expect(wrapped.length).toBe(61);
    const again = await openFileKeyWrapper(path);
    expect(await again.unwrap(wrapped, utf8('here'))).toEqual(secret);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const altered = wrapped.slice();
    altered[20] = (altered[20] ?? 0) ^ 1;
    await expect(again.unwrap(wrapped, utf8('there'))).rejects.toMatchObject({ code: 'E_SEAL' });
    await expect(again.unwrap(altered, utf8('here'))).rejects.toMatchObject({ code: 'E_SEAL' });
    await expect(again.unwrap(wrapped.subarray(0, 9), utf8('here'))).rejects.toMatchObject({ code: 'E_SEAL' });
    await expect(createKeyWrapper(systemRandom(32)).unwrap(wrapped, utf8('here'))).rejects.toMatchObject({
      code: 'E_SEAL',
    });
  });

  it('rejects a file that is not a key', async () => {
    writeFileSync(join(folder, 'kek'), 'short');
    await expect(openFileKeyWrapper(join(folder, 'kek'))).rejects.toMatchObject({ code: 'E_CONFIG' });
    await expect(openFileKeyWrapper(join(folder, 'no', 'kek'))).rejects.toMatchObject({ code: 'E_CONFIG' });
  });
});

describe('epoch keys', () => {
  it('are at most two; the old one is erased on disk and in memory when its epoch ends', async () => {
    const path = join(folder, 'epoch.keys');
    const slots = await openSlots(path);
    const keys = new EpochKeys(slots, createKeyWrapper(systemRandom(32)), systemRandom);
    const first = await keys.createFirst();
    const stored = await slots.read(1);
    await keys.create(2);
    expect(keys.get(1).key).toEqual(first.key);
    await keys.keepOnly(2);
    expect(first.key.every((byte) => byte === 0)).toBe(true);
    expect(() => keys.get(1)).toThrow(expect.objectContaining({ code: 'E_STORE' }));
    await expect(keys.load(1)).rejects.toMatchObject({ code: 'E_STORE' });
    expect(holds(readFileSync(path), stored?.subarray(5, 40) ?? new Uint8Array([1]))).toBe(false);
    expect(statSync(path).size).toBe(256);
    await slots.close();
  });

  it('of a vault are one between sweeps, through ten sweeps', async () => {
    const fixture = await VaultFixture.create({ density: 50 });
    await fixture.add(await makeUpload(50_000));
    await fixture.settle();
    for (let epoch = 2; epoch <= 11; epoch++) {
      await fixture.sweep();
      const live = [await fixture.raw.epochSlots.read(0), await fixture.raw.epochSlots.read(1)].filter(
        (slot) => slot !== undefined,
      );
      expect(live.length).toBe(1);
      expect(fixture.playbook.status().epoch).toBe(epoch);
    }
    await fixture.assertReadable();
  });

  it('rejects a playbook without its keys, and keys without their playbook, and replaces neither', async () => {
    const fixture = await VaultFixture.create();
    await fixture.add(await makeUpload(10));
    await fixture.settle();
    await fixture.sweep();
    const { keys, epochSlots, designSlots, kek } = fixture.raw;
    const wrapper = createKeyWrapper(kek);
    const open = (parts: object) => Playbook.open({ log: keys, epochSlots, designSlots, wrapper, ...parts });
    await expect(open({ epochSlots: new MemorySlots() })).rejects.toMatchObject({ code: 'E_STORE' });
    await expect(open({ log: new MemoryLog() })).rejects.toMatchObject({ code: 'E_STORE' });
    await expect(open({ wrapper: createKeyWrapper(systemRandom(32)) })).rejects.toMatchObject({ code: 'E_SEAL' });
    await fixture.startKeys();
    await fixture.assertReadable();
  });

  it('does not open a playbook that was restored to an earlier epoch', async () => {
    const fixture = await VaultFixture.create();
    await fixture.add(await makeUpload(10));
    await fixture.settle();
    const old: { put: Uint8Array; value: Uint8Array }[] = [];
    for await (const { key, value } of fixture.raw.keys.range()) old.push({ put: key, value });
    await fixture.sweep();
    await (await fixture.raw.keys.acquire()).append(old);
    await expect(fixture.startKeys()).rejects.toMatchObject({ code: 'E_STORE' });
  });
});

describe('a playbook that another process has taken over', () => {
  it('changes neither the log nor the key slots, and gives out no places', async () => {
    const fixture = await VaultFixture.create({ density: 50 });
    const [upload, late, later] = [await makeUpload(50_000), await makeUpload(10), await makeUpload(20)];
    await fixture.add(upload);
    await fixture.settle();
    await fixture.playbook.beginSweep();
    const pending = await fixture.playbook.nextMaintenance(2);
    const first = fixture.playbook;
    await fixture.startKeys(); // the second process
    await fixture.settle();
    await fixture.add(late); // in a slot that the first process considers free
    await fixture.settle();
    const { keys, epochSlots, designSlots } = fixture.raw;
    const everything = async () => {
      const entries: Uint8Array[] = [];
      for await (const { key, value } of keys.range()) entries.push(key, value);
      const slots = [epochSlots, designSlots].flatMap((file) => [0, 1, 2].map((slot) => file.read(slot)));
      return [entries, await Promise.all(slots)];
    };
    const before = await everything();
    const answer = {
      type: 'maintained' as const,
      to: 2,
      lane: 0,
      number: pending?.number ?? 0,
      fence: 0,
      staged: 0,
      absent: 0,
      missing: [],
      damaged: [],
      work: 0,
    };
    const design = Buffer.from(upload.designId, 'hex');
    for (const attempt of [
      () => first.addDesign({ manifest: later.manifest, keys: later.ceks }),
      () => first.deleteDesign(upload.designId),
      () => first.setMode(upload.designId, 'delta', 5),
      () => first.instruct({ design, from: 0, count: 1 }),
      () => first.slice(upload.designId, 0, 1),
      () => first.decoyWork(),
      () => first.decoysAgain(0, 1),
      () => first.maintained(answer),
      () => first.nextMaintenance(),
      () => first.beginSweep(),
    ])
      await expect(attempt()).rejects.toMatchObject({ code: 'E_FENCED' });
    await first.close();
    expect(await everything()).toEqual(before);
    await fixture.startKeys();
    await fixture.assertReadable();
    expect(await fixture.check()).toMatchObject({ clean: true, designs: 2 });
  });

  it('leaves nothing of a design that it was adding when it was taken over', async () => {
    const fixture = await VaultFixture.create({ density: 100 });
    const [mine, theirs] = [await makeUpload(10), await makeUpload(20)];
    const { keys, epochSlots, designSlots, kek } = fixture.raw;
    let takeOver = async (): Promise<void> => undefined;
    const slots: Slots = {
      read: (slot) => designSlots.read(slot),
      erase: (slot) => designSlots.erase(slot),
      count: () => designSlots.count(),
      close: () => designSlots.close(),
      write: async (slot, content) => {
        await designSlots.write(slot, content);
        await takeOver();
      },
    };
    const wrapper = createKeyWrapper(kek);
    const first = await Playbook.open({ log: keys, epochSlots, designSlots: slots, wrapper, density: 100 });
    takeOver = async () => {
      await fixture.startKeys();
      await fixture.add(mine);
    };
    await expect(first.addDesign({ manifest: theirs.manifest, keys: theirs.ceks })).rejects.toMatchObject({
      code: 'E_FENCED',
    });
    await fixture.startKeys();
    await fixture.settle();
    expect(fixture.playbook.designs()).toMatchObject([{ design: mine.designId }]);
    await fixture.assertReadable();
  });
});

describe('deleting a design', () => {
  it('erases its keys at once, so that not even the node’s key can recover them', async () => {
    const fixture = await VaultFixture.create();
    const upload = await makeUpload(40_000);
    await fixture.add(upload);
    await fixture.settle();
    const slot = await fixture.raw.designSlots.read(0);
    expect(slot).toBeDefined();
    await fixture.delete(upload.designId);
    expect(await fixture.raw.designSlots.read(0)).toBeUndefined();
    await expect(fixture.playbook.manifest(upload.designId)).rejects.toMatchObject({ code: 'E_NOT_FOUND' });
    expect(fixture.playbook.designs()).toEqual([]);
  });

  it('is completed at the next start when it is killed before the keys are erased', async () => {
    const fixture = await VaultFixture.create();
    const upload = await makeUpload(40_000);
    await fixture.add(upload);
    await fixture.settle();
    fixture.keysFuse.arm(1, 'after');
    expect(await fixture.survive(() => fixture.delete(upload.designId))).toBe(false);
    expect(fixture.playbook.designs()).toEqual([]);
    expect(await fixture.raw.designSlots.read(0)).toBeUndefined();
  });
});
