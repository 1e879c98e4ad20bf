import { mkdir, mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { removeDurably, renameDurably, writeDurably } from '../src/durable.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-durable-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

it('replaces a file atomically, and leaves no other file', async () => {
  const path = join(folder, 'sub', 'file');
  await writeDurably(path, 'first');
  await writeDurably(path, Buffer.from('second'), 0o644);
  expect(await readFile(path, 'utf8')).toBe('second');
  expect((await stat(path)).mode & 0o777).toBe(0o644);
  expect(await readdir(join(folder, 'sub'))).toEqual(['file']);
  const writers = Array.from({ length: 8 }, (_, i) => writeDurably(path, `${i}`.repeat(1_000)));
  await Promise.all(writers);
  expect(await readFile(path, 'utf8')).toMatch(/^(\d)\1{999}$/);
  expect(await readdir(join(folder, 'sub'))).toEqual(['file']);
});

it('leaves nothing behind when a write fails, and names the file', async () => {
  const path = join(folder, 'taken');
  await mkdir(join(path, 'in'), { recursive: true });
  await expect(writeDurably(path, 'x')).rejects.toMatchObject({
    code: 'E_STORE',
    message: expect.stringContaining(path),
  });
  expect((await readdir(folder)).filter((name) => name.includes('.tmp'))).toEqual([]);
});

it('renames and removes a file; a missing file is not an error', async () => {
  const [from, to] = [join(folder, 'from'), join(folder, 'to')];
  await writeDurably(from, 'x');
  await renameDurably(from, to);
  await renameDurably(from, to);
  expect(await readFile(to, 'utf8')).toBe('x');
  await removeDurably(to);
  await removeDurably(to);
  await removeDurably(join(folder, 'no folder', 'to'));
  await expect(stat(to)).rejects.toMatchObject({ code: 'ENOENT' });
});
