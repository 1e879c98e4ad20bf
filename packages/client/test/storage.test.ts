import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { concatBytes, systemRandom, utf8 } from '@millrace/base';
import { codeOf } from '@millrace/testkit/client/helpers';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { createMemoryStorage } from '../src/memory-storage.ts';
import { createFolderStorage } from '../src/node/folder-storage.ts';
import { SEALED_BYTES } from '../src/prepared.ts';
import type { ClientStorage } from '../src/storage.ts';

const folders: string[] = [];
afterAll(async () => {
  for (const folder of folders) await rm(folder, { recursive: true, force: true });
});

async function inFolder(): Promise<ClientStorage> {
  const folder = await mkdtemp(join(tmpdir(), 'millrace storage '));
  folders.push(folder);
  return createFolderStorage(folder);
}

const source = { path: '/some/part.gcode', size: 40_000, mtimeMs: 1 };
const state = { version: 1 as const, design: 'ab'.repeat(16), name: 'part', segments: 2, size: 20_000, source };

describe.each([
  ['memory', async () => createMemoryStorage()],
  ['a folder', inFolder],
])('storage in %s', (_where, open) => {
  let storage: ClientStorage;
  beforeEach(async () => {
    storage = await open();
  });

  const sealed = (n: number) => new Uint8Array(SEALED_BYTES).fill(n);

  async function prepared() {
    const writer = await storage.prepared.begin(systemRandom);
    await writer.append(sealed(1));
    await writer.append(sealed(2));
    return writer.finish(state, utf8('manifest'), utf8('keys'));
  }

  it('keeps values, and replaces them atomically', async () => {
    expect(await storage.read('designs/one/design.json')).toBeUndefined();
    await storage.replace('designs/one/design.json', utf8('first'));
    const first = await storage.read('designs/one/design.json');
    await storage.replace('designs/one/design.json', utf8('second'));
    expect(first).toEqual(utf8('first'));
    expect(await storage.read('designs/one/design.json')).toEqual(utf8('second'));
    expect(await storage.read('designs/two/design.json')).toBeUndefined();
  });

  it('returns a prepared design, and finds it again only by its source', async () => {
    const design = await prepared();
    expect(design).toMatchObject({ state, earlier: false });
    expect([await design.manifest(), await design.keys()]).toEqual([utf8('manifest'), utf8('keys')]);
    const segments = await design.openSegments();
    expect(await Promise.all([segments.read(1), segments.read(0)])).toEqual([sealed(2), sealed(1)]);
    expect(await segments.read(0, 2)).toEqual(concatBytes(sealed(1), sealed(2)));
    for (const [first, count] of [[2], [1, 2], [0, 3]] as const)
      expect(await codeOf(segments.read(first, count))).toBe('E_UPLOAD');
    await segments.close();
    expect(await storage.prepared.find(source)).toMatchObject({ state, earlier: true });
    for (const other of [{ path: '/x' }, { size: 1 }, { mtimeMs: 2 }, { profile: 'cd'.repeat(32) }])
      expect(await storage.prepared.find({ ...source, ...other })).toBeUndefined();
    await design.remove();
    expect(await storage.prepared.find(source)).toBeUndefined();
  });

  it('does not show an incomplete design', async () => {
    const writer = await storage.prepared.begin(systemRandom);
    await writer.append(sealed(1));
    expect(await codeOf(writer.append(new Uint8Array(5)))).toBe('E_INTERNAL');
    expect(await storage.prepared.find(source)).toBeUndefined();
    expect(await codeOf(writer.finish(state, utf8('manifest'), utf8('keys')))).toBe('E_INTERNAL');
    await writer.abandon();
    expect(await storage.prepared.find(source)).toBeUndefined();
  });
});
