import { execFileSync, spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, open, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemRandom } from '@millrace/base';
import { Encrypter } from 'age-encryption';
import { type Header, pack } from 'tar-stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { filesBelow, readArchive, writeArchive } from '../src/backup/archive.ts';
import { newBackupKey, openBackupKeys } from '../src/backup/key-file.ts';

let folder: string;
let backup: string;
let key: Awaited<ReturnType<typeof newBackupKey>>;
const long = `nodes/keys/${'deep/'.repeat(40)}${'name'.repeat(30)}é`;
const content = new Map<string, Uint8Array>([
  ['nodes/control/data/data.mdb', systemRandom(300_000)],
  ['nodes/control/empty', new Uint8Array()],
  ['nodes/segments/cells.bin', systemRandom(65_536 * 2)],
  [long, Buffer.from('long')],
]);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-archive-'));
  for (const [name, bytes] of content) {
    await mkdir(join(folder, 'home', name, '..'), { recursive: true });
    await writeFile(join(folder, 'home', name), bytes);
  }
  await writeFile(join(folder, 'home/nodes/control/data/lock.mdb'), 'lock');
  key = await newBackupKey(systemRandom);
  backup = join(folder, 'all.age');
  const root = join(folder, 'home');
  await writeArchive(backup, { recipient: key.recipient, sources: [{ root, files: await filesBelow(root, 'nodes') }] });
});
afterAll(() => rm(folder, { recursive: true, force: true }));

let targets = 0;
async function emptyFolder(): Promise<string> {
  const path = join(folder, `target-${targets++}`);
  await mkdir(path);
  return path;
}

/** Encrypts any bytes as an age file. */
async function sealed(plain: Uint8Array): Promise<string> {
  const encrypter = new Encrypter();
  encrypter.addRecipient(key.recipient);
  const path = join(folder, `sealed-${targets++}`);
  await writeFile(path, await encrypter.encrypt(plain));
  return path;
}

async function tarOf(...entries: readonly (Partial<Header> & { name: string; content?: string })[]) {
  const tar = pack();
  for (const { content: text = '', ...header } of entries) tar.entry(header, text);
  tar.finalize();
  const parts: Uint8Array[] = [];
  for await (const part of tar as AsyncIterable<Uint8Array>) parts.push(part);
  return Buffer.concat(parts);
}

describe('a backup', () => {
  it('restores every file, whatever its length and name', async () => {
    const target = await emptyFolder();
    const other = await newBackupKey(systemRandom);
    const opened = await readArchive(backup, [other.identity, key.identity], target);
    expect(opened).toEqual({ identity: key.identity, files: content.size });
    expect((await filesBelow(target, 'nodes')).sort()).toEqual([...content.keys()].sort());
    for (const [name, bytes] of content) expect(await readFile(join(target, name))).toEqual(Buffer.from(bytes));
    expect((await stat(join(target, 'nodes/control/empty'))).mode & 0o777).toBe(0o600);
  });

  it('does not open with another key, and names no recipient', async () => {
    const other = await newBackupKey(systemRandom);
    const target = await emptyFolder();
    await expect(readArchive(backup, [other.identity], target)).rejects.toMatchObject({ code: 'E_BACKUP' });
    await expect(readArchive(backup, [], target)).rejects.toMatchObject({ code: 'E_BACKUP' });
    expect(await readdir(target)).toEqual([]);
    expect((await readFile(backup, 'latin1')).includes(key.recipient)).toBe(false);
  });

  it('does not open when truncated at any chunk, or altered anywhere', async () => {
    const whole = await readFile(backup);
    const cuts = [0, 10, 150, 200, 220, 65_000, 65_752, 131_288, whole.length - 65_552, whole.length - 1];
    const altered = [3, 40, 120, 190, 300, 70_000, whole.length - 1].map((at) => {
      const copy = Buffer.from(whole);
      copy[at] = (copy[at] ?? 0) ^ 1;
      return copy;
    });
    for (const bytes of [...cuts.map((at) => whole.subarray(0, at)), ...altered, Buffer.concat([whole, whole])]) {
      const path = join(folder, 'bad.age');
      await writeFile(path, bytes);
      await expect(readArchive(path, [key.identity], await emptyFolder())).rejects.toMatchObject({ code: 'E_BACKUP' });
    }
  });

  it('without an end of its header is not read into memory as a whole', async () => {
    const path = join(folder, 'endless.age');
    await writeFile(path, `age-encryption.org/v1\n-> X25519 ${'a'.repeat(3_000_000)}`);
    await expect(readArchive(path, [key.identity], await emptyFolder())).rejects.toThrow('not an age file');
  });

  it('needs little memory, whatever its length', async () => {
    const root = join(folder, 'large');
    await mkdir(root);
    const large = await open(join(root, 'sparse'), 'w');
    await large.truncate(192 * 2 ** 20);
    await large.close();
    const path = join(folder, 'large.age');
    const peak = { bytes: 0 };
    const before = process.memoryUsage.rss();
    const watching = setInterval(() => {
      peak.bytes = Math.max(peak.bytes, process.memoryUsage.rss() - before);
    }, 20);
    await writeArchive(path, { recipient: key.recipient, sources: [{ root, files: ['sparse'] }] });
    await readArchive(path, [key.identity], await emptyFolder());
    clearInterval(watching);
    expect(peak.bytes).toBeLessThan(128 * 2 ** 20);
  }, 120_000);
});

describe('a malicious archive by a holder of the key', () => {
  it.each([['/etc/x'], ['../x'], ['a/../../x'], ['a/./x'], ['a//x'], ['..'], ['a\\x']])(
    'cannot write to %s',
    async (name) => {
      const target = await emptyFolder();
      const path = await sealed(await tarOf({ name, content: 'x' }));
      await expect(readArchive(path, [key.identity], target)).rejects.toMatchObject({ code: 'E_BACKUP' });
      expect(await readdir(target)).toEqual([]);
    },
  );

  it.each(['symlink', 'link', 'fifo', 'character-device', 'block-device'] as const)(
    'cannot create a %s',
    async (type) => {
      const target = await emptyFolder();
      const path = await sealed(await tarOf({ name: 'x', type, linkname: '/etc/passwd' }));
      await expect(readArchive(path, [key.identity], target)).rejects.toMatchObject({ code: 'E_BACKUP' });
      expect(await readdir(target)).toEqual([]);
    },
  );

  it('cannot name a file twice, nor a file below a file', async () => {
    for (const second of ['x', 'x/y']) {
      const path = await sealed(await tarOf({ name: 'x', content: '1' }, { name: second, content: '2' }));
      const reading = readArchive(path, [key.identity], await emptyFolder());
      await expect(reading).rejects.toMatchObject({ code: 'E_BACKUP' });
    }
  });

  it('cannot declare a false size', async () => {
    const tar = await tarOf({ name: 'x', content: 'short' });
    tar.write('77777777777 ', 124, 'latin1');
    tar.fill(' ', 148, 156);
    const sum = tar.subarray(0, 512).reduce((total, byte) => total + byte, 0);
    tar.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
    const reading = readArchive(await sealed(tar), [key.identity], await emptyFolder());
    await expect(reading).rejects.toThrow('larger than the backup itself');
    await expect(
      readArchive(await sealed(Buffer.from('no tar')), [key.identity], await emptyFolder()),
    ).rejects.toMatchObject({ code: 'E_BACKUP' });
  });
});

describe('the key file', () => {
  it('keeps keys until they are destroyed, and reuses their slots', async () => {
    const path = join(folder, 'backup.keys');
    const [first, second, third] = [await newBackupKey(systemRandom), await newBackupKey(systemRandom), key];
    const keys = await openBackupKeys(path);
    await keys.add(first);
    await keys.add(second);
    expect(await keys.list()).toEqual([first, second].map(({ id, identity }) => ({ id, identity })));
    expect(await keys.destroy(second)).toBe(1);
    expect((await readFile(path, 'latin1')).includes(first.identity)).toBe(false);
    await keys.add(third);
    expect((await keys.list()).map(({ id }) => id)).toEqual([third.id, second.id]);
    expect((await stat(path)).size).toBe(256);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect(await keys.destroy()).toBe(2);
    expect(await keys.list()).toEqual([]);
    await keys.close();
  });

  it('can come from age-keygen', async () => {
    for (const end of ['\n', '']) {
      const path = join(folder, `own${end.length}.keys`);
      await writeFile(path, `# created: 2026-01-01T00:00:00Z\n# public key: ${key.recipient}\n${key.identity}${end}`);
      const keys = await openBackupKeys(path);
      expect(await keys.list()).toEqual([{ id: 'without a name', identity: key.identity }]);
      const added = await newBackupKey(systemRandom);
      await keys.add(added);
      expect((await keys.list()).map(({ identity }) => identity)).toEqual([key.identity, added.identity]);
      expect((await stat(path)).size % 128).toBe(0);
      expect(await keys.destroy(added)).toBe(1);
      expect((await keys.list()).map(({ identity }) => identity)).toEqual([added.identity]);
      await keys.close();
    }
  });

  it('is rejected when it is another kind of file', async () => {
    const path = join(folder, 'other.keys');
    await writeFile(path, 'something else\n');
    const keys = await openBackupKeys(path);
    await expect(keys.list()).rejects.toMatchObject({ code: 'E_CONFIG' });
    await keys.close();
  });
});

const age = spawnSync('age', ['--version']).status === 0;
if (!age) console.warn('the tool age is not installed (apt install age): backups are not read with it');

describe.skipIf(!age)('the tool age', () => {
  it('decrypts a backup with the key file, and tar lists it', async () => {
    const path = join(folder, 'for-age.keys');
    const keys = await openBackupKeys(path);
    await keys.add(await newBackupKey(systemRandom));
    await keys.add(key);
    await keys.destroy(key);
    await keys.close();
    const tar = execFileSync('age', ['--decrypt', '--identity', path, backup], { maxBuffer: 2 ** 24 });
    const listed = execFileSync('tar', ['--list', '--file', '-'], { input: tar, encoding: 'utf8' });
    expect(listed.includes('nodes/control/data/data.mdb')).toBe(true);
    expect(listed.trim().split('\n')).toHaveLength(content.size);
  });
});
