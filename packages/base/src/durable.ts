import { mkdir, open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { toHex } from './bytes.ts';
import { systemRandom } from './clock.ts';
import { diskCode, diskText } from './disk.ts';
import { MillraceError } from './errors.ts';

/**
 * Writes a file atomically and durably: temporary file, flush, rename, flush of the folder. Creates the folder. A
 * concurrent reader sees either the old or the new content.
 * @throws {MillraceError} E_DISK_FULL, E_READ_ONLY, E_STORE
 */
export async function writeDurably(path: string, content: Uint8Array | string, mode = 0o600): Promise<void> {
  const staged = join(dirname(path), `.${basename(path)}.${toHex(systemRandom(6))}.tmp`);
  await onDisk(path, async () => {
    await mkdir(dirname(path), { recursive: true });
    try {
      const file = await open(staged, 'wx', mode);
      try {
        await file.writeFile(content);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(staged, path);
    } catch (error) {
      await rm(staged, { force: true });
      throw error;
    }
    await flush(dirname(path));
  });
}

/** Durable once it resolves. A missing file is not an error. @throws as `writeDurably` */
export async function renameDurably(path: string, to: string): Promise<void> {
  await onDisk(path, async () => {
    await rename(path, to).catch(unlessMissing);
    await flush(dirname(to));
    if (dirname(path) !== dirname(to)) await flush(dirname(path));
  });
}

/** Durable once it resolves. A missing file is not an error. @throws as `writeDurably` */
export async function removeDurably(path: string): Promise<void> {
  await onDisk(path, async () => {
    await rm(path, { force: true });
    await flush(dirname(path)).catch(unlessMissing);
  });
}

const ZEROS = new Uint8Array(1 << 20);

/**
 * Overwrites a file with zeros, flushes it and removes it. A medium that does not overwrite in place (flash, btrfs, ZFS)
 * may still have the former content. A missing file is not an error.
 * @throws as `writeDurably`
 */
export async function eraseDurably(path: string): Promise<void> {
  await onDisk(path, async () => {
    const file = await open(path, 'r+').catch(unlessMissing);
    if (!file) return;
    try {
      const { size } = await file.stat();
      for (let at = 0; at < size; at += ZEROS.length) await file.write(ZEROS, 0, Math.min(ZEROS.length, size - at), at);
      await file.sync();
    } finally {
      await file.close();
    }
    await rm(path);
    await flush(dirname(path));
  });
}

/** Flushes a file, or the entries of a folder, to the disk. */
export async function flush(path: string): Promise<void> {
  const handle = await open(path, 'r');
  await handle.sync().finally(() => handle.close());
}

function unlessMissing(error: unknown): void {
  if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
}

async function onDisk(path: string, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (cause) {
    throw new MillraceError(diskCode(cause), diskText(cause, path), { cause });
  }
}
