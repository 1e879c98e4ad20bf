import { spawnSync } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { utf8 } from '@millrace/base';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BATCH, KEPT } from '../src/compliance/index.ts';
import { openEnvironment } from '../src/lmdb.ts';
import { storeError } from '../src/lmdb-errors.ts';
import { temporaryFolder } from './harness.ts';

const program = fileURLToPath(new URL('../dist/compliance/crash-writer.js', import.meta.url));

const fullWriter = fileURLToPath(new URL('../dist/compliance/full-writer.js', import.meta.url));

/** A disk in a file. Mounting needs root, and is not possible everywhere. */
function mountedDisk(folder: string): { path: string; turnReadOnly(): void; unmount(): void } | undefined {
  const [image, path] = [join(folder, 'disk'), join(folder, 'mounted')];
  const system = (command: string, ...args: string[]) => spawnSync(command, args).status === 0;
  mkdirSync(path);
  if (!system('truncate', '-s', '64M', image) || !system('mkfs.ext4', '-q', image)) return undefined;
  if (!system('mount', '-o', 'loop', image, path)) return undefined;
  return {
    path,
    // As the system does after a disk fault, with files open for writing.
    turnReadOnly: () => expect(system('mount', '-o', 'remount,abort', path)).toBe(true),
    unmount: () => expect(system('umount', path)).toBe(true),
  };
}

let folder: ReturnType<typeof temporaryFolder>;
beforeEach(() => {
  folder = temporaryFolder();
});
afterEach(() => folder.remove());

describe('a disk that fails', () => {
  // A file-size limit needs no privileges. A write beyond it is cut short, as on a full disk.
  it('fails the write with a code, keeps acknowledged data, and works again when there is space', async () => {
    expect(existsSync(program), 'built first: npx tsc -b packages/stores').toBe(true);
    const shell = `trap '' XFSZ; ulimit -f 3000; exec "$0" "$@"`;
    const run = spawnSync('bash', ['-c', shell, process.execPath, program, folder.path, '20000'], {
      encoding: 'utf8',
    });
    const lines = run.stdout.trim().split('\n');
    expect(lines.at(-1)).toBe('closed');
    const failed = lines.at(-2)?.split(' ') ?? [];
    expect(failed[0]).toBe('failed');
    expect(failed[2]).toMatch(/^E_(DISK_FULL|STORE)$/);
    const acknowledged = Number(failed[1]);
    expect(acknowledged).toBeGreaterThan(0);

    const lmdb = openEnvironment({ path: folder.path });
    const store = lmdb.store('crash');
    let entries = 0;
    let last = -1;
    for await (const { key, value } of store.range()) {
      entries++;
      last = new DataView(key.buffer, key.byteOffset).getUint32(0);
      expect(value.every((byte) => byte === (last & 255))).toBe(true);
    }
    expect(last).toBe(acknowledged - 1);
    expect(entries).toBe(BATCH * Math.min(acknowledged, KEPT));
    await store.put(utf8('room'), new Uint8Array(100_000));
    expect((await store.get(utf8('room')))?.length).toBe(100_000);
    await lmdb.close();
  });

  it.each([400, 1_000, 2_500, 6_000])(
    'is detected before LMDB writes: hundreds of failed writes at %i kB, nothing lost, nothing partly written',
    (kilobytes) => {
      const shell = `ulimit -f ${kilobytes}; exec "$0" "$@"`;
      const run = spawnSync('bash', ['-c', shell, process.execPath, fullWriter, folder.path, String(kilobytes)], {
        encoding: 'utf8',
      });
      expect(run.stderr).toBe(''); // where LMDB prints an error about a failed write
      expect(run.status).toBe(0);
      const [, refused, , kept] = run.stdout.trim().split(' ').map(Number);
      expect(refused).toBeGreaterThan(20);
      expect(kept).toBeGreaterThan(20);
    },
  );

  it('turns read-only under an open store: all writes fail with a code before LMDB; reads continue', async () => {
    const disk = mountedDisk(folder.path);
    if (disk === undefined) {
      process.stdout.write('faults.test: a disk that turns read-only was not tried: a file cannot be mounted here\n');
      return;
    }
    const lmdb = openEnvironment({ path: join(disk.path, 'store') });
    try {
      const store = lmdb.store('a');
      const putAll = (writes: number, fill: number) =>
        Promise.allSettled(
          Array.from({ length: writes }, (_, i) => store.put(utf8(`key ${i}`), new Uint8Array(1_000).fill(fill))),
        );
      await putAll(2_000, 1);
      disk.turnReadOnly();
      for (const writes of [1, 30, 1_000, 1]) {
        for (const outcome of await putAll(writes, 2)) {
          // An error of LMDB would name a page. This one is from LmdbSpace.
          expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'E_READ_ONLY' } });
          expect(String((outcome as PromiseRejectedResult).reason)).not.toContain('page');
        }
      }
      expect(await store.get(utf8('key 7'))).toEqual(new Uint8Array(1_000).fill(1));
    } finally {
      await lmdb.close();
      disk.unmount();
    }
  });

  it('distinguishes a full disk from other faults', () => {
    const system = (code: unknown, message = 'no') => Object.assign(new Error(message), { code });
    for (const full of [
      system(28),
      system('ENOSPC'),
      system(122),
      system(-30792),
      system(undefined, 'No space left on device'),
    ]) {
      expect(storeError(full, folder.path, 'x').code).toBe('E_DISK_FULL');
    }
    expect(storeError(system(5), folder.path, 'x').code).toBe('E_STORE'); // there is space here
    for (const number of [1, 13, 30]) expect(storeError(system(number), folder.path, 'x').code).toBe('E_READ_ONLY');
    expect(storeError('odd', folder.path, 'x')).toMatchObject({ code: 'E_STORE', message: 'x: odd' });
  });
});

describe('opening a store', () => {
  it('rejects a path that is not a folder', () => {
    const path = join(folder.path, 'file');
    writeFileSync(path, 'not a store');
    expect(() => openEnvironment({ path })).toThrow(expect.objectContaining({ code: 'E_STORE' }));
  });

  it('rejects a file that is not a store, is truncated or has lost a meta page', async () => {
    const path = join(folder.path, 'store');
    const lmdb = openEnvironment({ path });
    for (let i = 0; i < 50; i++) void lmdb.store('a').put(utf8(`key ${i}`), new Uint8Array(6000));
    await lmdb.close();
    const file = join(path, 'data.mdb');
    const good = readFileSync(file);
    const noise = new Uint8Array(4096).fill(0x5a);
    const with5a = (at: number) => Buffer.concat([good.subarray(0, at), noise, good.subarray(at + 4096)]);
    for (const bad of [
      noise,
      good.subarray(0, 100),
      good.subarray(0, 4096),
      good.subarray(0, 8192),
      with5a(0),
      with5a(4096),
    ]) {
      writeFileSync(file, bad);
      expect(() => openEnvironment({ path })).toThrow(expect.objectContaining({ code: 'E_STORE' }));
    }
    writeFileSync(file, good);
    const again = openEnvironment({ path });
    expect((await again.store('a').get(utf8('key 49')))?.length).toBe(6000);
    await again.close();
  });

  it('read-only: sees another environment’s writes, rejects its own, creates nothing', async () => {
    mkdirSync(join(folder.path, 'empty'));
    expect(() => openEnvironment({ path: join(folder.path, 'empty'), readOnly: true }).store('x')).toThrow(
      expect.objectContaining({ code: expect.stringMatching(/^E_(STORE|NOT_FOUND)$/) }),
    );
    const lmdb = openEnvironment({ path: join(folder.path, 'real') });
    await lmdb.store('a').put(utf8('k'), utf8('v'));
    await lmdb.close();
    const reader = openEnvironment({ path: join(folder.path, 'real'), readOnly: true });
    expect(await reader.store('a').get(utf8('k'))).toEqual(utf8('v'));
    await expect(reader.store('a').put(utf8('k'), utf8('w'))).rejects.toMatchObject({ code: 'E_STORE' });
    expect(() => reader.store('b')).toThrow(expect.objectContaining({ code: 'E_NOT_FOUND' }));
    await reader.close();
  });

  it('isolates named stores, and accepts concurrent writes to several', async () => {
    const lmdb = openEnvironment({ path: folder.path });
    await Promise.all([lmdb.store('a').put(utf8('k'), utf8('a')), lmdb.store('b').put(utf8('k'), utf8('b'))]);
    expect(await lmdb.store('a').get(utf8('k'))).toEqual(utf8('a'));
    expect(await lmdb.store('b').get(utf8('k'))).toEqual(utf8('b'));
    expect(lmdb.store('a')).toBe(lmdb.store('a'));
    await lmdb.close();
    await lmdb.close();
    expect(() => lmdb.store('c')).toThrow(expect.objectContaining({ code: 'E_STORE' }));
  });

  it('reports a damaged page as an error or as absent, and never crashes the process', async () => {
    const path = join(folder.path, 'damaged');
    const lmdb = openEnvironment({ path });
    for (let i = 0; i < 300; i++) void lmdb.store('a').put(utf8(`key ${i}`), new Uint8Array(600).fill(i));
    await lmdb.close();
    const file = openSync(join(path, 'data.mdb'), 'r+');
    for (let page = 2; page < 60; page++) writeSync(file, new Uint8Array(4096).fill(0xa5), 0, 4096, page * 4096);
    closeSync(file);
    const child = `
      const { openEnvironment } = await import(${JSON.stringify(new URL('../dist/lmdb.js', import.meta.url).href)});
      try {
        const store = openEnvironment({ path: ${JSON.stringify(path)} }).store('a');
        let n = 0; for await (const e of store.range()) n++;
        console.log('read', n);
      } catch (error) { console.log('coded', error.code); }
      process.exit(0);`;
    const run = spawnSync(process.execPath, ['--input-type=module', '-e', child], { encoding: 'utf8' });
    expect(run.stdout.trim()).toBe('coded E_STORE');
  });
});
