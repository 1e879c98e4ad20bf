import { access, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { flush, writeDurably } from './durable.ts';

// A file that will replace another one is staged next to it, under its name with an extension, until it is installed.

export const stagedPath = (path: string): string => `${path}.next`;

export async function fileExists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/** Durable once it resolves. A staged file of an earlier attempt is overwritten first. @throws as `writeDurably` */
export async function stageFile(path: string, content: Uint8Array | string, mode = 0o600): Promise<void> {
  await discardStaged(path);
  await writeDurably(stagedPath(path), content, mode);
}

/** Overwrites and removes the staged files for these paths. */
export async function discardStaged(...paths: readonly string[]): Promise<void> {
  for (const path of paths) await eraseFile(stagedPath(path));
}

/**
 * Installs the staged file and overwrites the file that it replaces. Safe to repeat.
 * @returns whether a staged file existed
 */
export async function replaceByStaged(path: string): Promise<boolean> {
  const next = stagedPath(path);
  if (!(await fileExists(next))) return false;
  const before = (await fileExists(path)) ? await open(path, 'r+') : undefined;
  try {
    await rename(next, path);
    await flush(dirname(path));
    if (before !== undefined) await overwrite(before);
  } finally {
    await before?.close();
  }
  return true;
}

/** Overwrites a file in place and removes it. Does nothing if the file does not exist. */
export async function eraseFile(path: string): Promise<void> {
  if (!(await fileExists(path))) return;
  const file = await open(path, 'r+');
  await overwrite(file).finally(() => file.close());
  await rm(path);
  await flush(dirname(path));
}

async function overwrite(file: Awaited<ReturnType<typeof open>>): Promise<void> {
  const { size } = await file.stat();
  await file.write(new Uint8Array(size), 0, size, 0);
  await file.sync();
}
