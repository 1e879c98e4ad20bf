import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Bytes, concatBytes, copyBytes, MillraceError, silentLogger } from '@millrace/base';
import { generateP256Key } from '@millrace/identity';
import { packageEnd, packageStart, prepareDesign, readManifest, sealPackageKeys } from '@millrace/vault';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { PackageResult } from '../src/agent/packages/make-package.ts';
import { PackageFolder } from '../src/agent/packages/package-folder.ts';

let folder: string;
let ended: [string, PackageResult][];
let queue: PackageFolder;
let whole: Bytes;

/** A package whose form is right. The folder does not look at its signature. */
async function packageOf(content: Uint8Array): Promise<Bytes> {
  const segments: Bytes[] = [];
  const design = await prepareDesign(
    (async function* () {
      yield content;
    })(),
    {
      kind: 'binary',
      owner: new Uint8Array(33).fill(2),
      sink: (_, sealed) => void segments.push(copyBytes(sealed)),
      describe: ({ segments: count }) => ({ times: new Array<number>(count).fill(1) }),
    },
  );
  const { hashes, core } = readManifest(design.manifest);
  const keys = sealPackageKeys(new Uint8Array(32), design.designSecret, design.ceks);
  const trailer = { licence: new Uint8Array(9), signer: new Uint8Array(9), core };
  return concatBytes(packageStart(), ...segments, hashes, keys, packageEnd(trailer));
}

beforeEach(async () => {
  whole = await packageOf(new Uint8Array(40_000).fill(7));
  folder = await mkdtemp(join(tmpdir(), 'millrace packages '));
  ended = [];
  queue = new PackageFolder({
    folder,
    driverKey: generateP256Key(),
    pollMs: 5,
    logger: silentLogger,
    order: async () => undefined,
    ended: (name, result) => void ended.push([name, result]),
  });
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const put = (name: string, bytes: Uint8Array) => writeFile(join(folder, name), bytes);
const looks = async (count: number) => {
  for (let i = 0; i < count; i++) await queue.look();
};
const next = () => queue.next(AbortSignal.timeout(30_000));

test('takes a package once it is whole and stands still, and moves it to what was made', async () => {
  await put('part.mrjob', whole);
  await queue.look();
  expect(queue.ready).toEqual([]);
  const queued = await next();
  expect(queued.name).toBe('part.mrjob');
  const source = await queued.open();
  expect(await source.read(0, source.size)).toEqual(whole);
  await source.close();
  await queued.ended({ object: 'object-1' });
  expect(await readdir(join(folder, 'made'))).toEqual(['object-1.mrjob']);
  await looks(3);
  expect(queue.ready).toEqual([]);
});

test('waits for a file that is being copied, in order or with its length set first', async () => {
  for (const half of [whole.subarray(0, 20_000), copyBytes(whole).fill(0, 20_000)]) {
    await put('slow.mrjob', half);
    await looks(10);
    expect(queue.ready).toEqual([]);
  }
  expect(ended).toEqual([]);
  await put('slow.mrjob', whole);
  expect((await next()).name).toBe('slow.mrjob');
});

test('refuses what never becomes a whole package, with the reason beside it', async () => {
  await put('cut.mrjob', whole.subarray(0, -1));
  await put('other.txt', whole);
  await mkdir(join(folder, 'folder.mrjob'));
  await put('elsewhere', whole);
  await symlink(join(folder, 'elsewhere'), join(folder, 'link.mrjob'));
  await looks(62);
  expect(ended.map(([name, { error }]) => [name, error?.code])).toEqual([['cut.mrjob', 'E_PACKAGE']]);
  expect(await readdir(join(folder, 'refused'))).toEqual(['cut.mrjob', 'cut.mrjob.txt']);
  expect(await readFile(join(folder, 'refused', 'cut.mrjob.txt'), 'utf8')).toMatch(/^E_PACKAGE: .*not whole/);
  expect(queue.ready).toEqual([]);
});

test('keeps a package that may be made later, and moves one that was refused', async () => {
  await put('part.mrjob', whole);
  await (await next()).ended({ error: new MillraceError('E_UNAVAILABLE', 'no cloud'), later: true });
  const again = await next();
  expect(again.name).toBe('part.mrjob');
  await again.ended({ error: new MillraceError('E_PACKAGE_DRIVER', 'for another driver') });
  expect(await readFile(join(folder, 'refused', 'part.mrjob.txt'), 'utf8')).toContain('E_PACKAGE_DRIVER');
  await rm(folder, { recursive: true });
  await expect(next()).rejects.toMatchObject({ code: 'E_NOT_FOUND' });
});
