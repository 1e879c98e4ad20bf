import { chown, mkdir, mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { addMachine, slotsOf } from '../src/index.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-site-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

it('numbered folders are machines, and nothing else is', async () => {
  for (const name of ['lost+found', '0', '01', '-1', '1e3', 'backup of 1'])
    await mkdir(join(folder, 'machines', name), { recursive: true });
  expect(await slotsOf(folder)).toEqual([]);
  expect(await addMachine(folder)).toBe('1');
  await mkdir(join(folder, 'machines', '10'));
  expect(await addMachine(folder)).toBe('11');
  expect(await slotsOf(folder)).toEqual(['1', '10', '11']);
});

it.skipIf(process.getuid?.() !== 0)('what an administrator adds belongs to the service’s user', async () => {
  await chown(folder, 12_345, 12_346);
  await addMachine(folder);
  for (const made of ['machines', 'machines/1'])
    expect(await stat(join(folder, made)), made).toMatchObject({ uid: 12_345, gid: 12_346 });
});
