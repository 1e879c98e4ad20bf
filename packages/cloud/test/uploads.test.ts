import { mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemRandom, toHex } from '@millrace/base';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Uploads } from '../src/distribution/uploads.ts';

const SEALED = 16_386;
let folder: string;
let uploads: Uploads;
const design = toHex(systemRandom(16));

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace uploads '));
  uploads = new Uploads(folder);
});
afterEach(async () => {
  await uploads.close();
  await rm(folder, { recursive: true, force: true });
});

async function putSome(count: number): Promise<void> {
  for (let number = 0; number < count; number += 1) await uploads.put(design, String(number), systemRandom(SEALED));
}

async function untilEmpty(): Promise<void> {
  await expect.poll(() => readdir(folder), { timeout: 10_000 }).toEqual([]);
}

describe('staged uploads', () => {
  it('are given back as they came, counted, and gone after a wipe', async () => {
    const sealed = systemRandom(SEALED);
    await uploads.put(design, '3', sealed);
    await uploads.put(design, '3', sealed);
    expect(await uploads.get(design, '3')).toEqual(sealed);
    expect([...(await uploads.have(design))]).toEqual([3]);
    await uploads.wipe(design);
    await uploads.wipe(design);
    await expect(uploads.get(design, '3')).rejects.toMatchObject({ code: 'E_NOT_FOUND' });
    expect((await uploads.have(design)).size).toBe(0);
    await untilEmpty();
  });

  it('that come while others of the design are wiped stay', async () => {
    await putSome(100);
    const wiping = uploads.wipe(design);
    await expect.poll(async () => (await uploads.have(design)).size).toBe(0);
    await uploads.put(design, '7', systemRandom(SEALED));
    await wiping;
    expect([...(await uploads.have(design))]).toEqual([7]);
  });

  it('are wiped by the next process when one was killed at it', async () => {
    await putSome(20);
    await rename(join(folder, design), join(folder, `.wiping-${design}-0011`));
    const next = new Uploads(folder);
    await next.start();
    await untilEmpty();
    await next.close();
  });

  it('are not waited for when the node closes, and not forgotten', async () => {
    await putSome(300);
    const wiping = uploads.wipe(design);
    await expect.poll(async () => (await uploads.have(design)).size).toBe(0);
    await uploads.close();
    await wiping;
    const next = new Uploads(folder);
    await next.start();
    await untilEmpty();
    await next.close();
  });
});
