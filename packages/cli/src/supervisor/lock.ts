import { link, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { MillraceError, systemRandom, toHex } from '@millrace/base';
import { hasSystemCode, makeFolder, processIsAlive } from '@millrace/client/node';

/** Held while a supervisor runs. */
export interface Lock {
  release(): Promise<void>;
}

export interface LockOptions {
  readonly pid?: number;
  readonly isAlive?: (pid: number) => boolean;
}

/**
 * Allows one supervisor per installation: a file that names its process. The file of a dead process is taken over.
 * @throws {MillraceError} E_CONFLICT with the process that holds it
 */
export async function acquireLock(path: string, options: LockOptions = {}): Promise<Lock> {
  const { pid = process.pid, isAlive = processIsAlive } = options;
  const content = `${pid}\n`;
  await makeFolder(dirname(path));
  for (let attempt = 0; attempt < 10; attempt += 1) {
    if (await createWhole(path, content)) {
      return { release: () => releaseLock(path, content) };
    }
    const held = await readIfThere(path);
    if (held === undefined) continue;
    const holder = Number.parseInt(held, 10);
    if (Number.isSafeInteger(holder) && holder > 0 && holder !== pid && isAlive(holder)) {
      throw new MillraceError('E_CONFLICT', `it is already running, as process ${holder}`, { data: { pid: holder } });
    }
    await moveAside(path, held);
  }
  throw new MillraceError('E_CONFLICT', `other processes keep taking the lock ${path}`);
}

/** The process that holds the lock, if it is alive. */
export async function lockHolder(path: string, isAlive = processIsAlive): Promise<number | undefined> {
  const holder = Number.parseInt((await readIfThere(path)) ?? '', 10);
  return Number.isSafeInteger(holder) && holder > 0 && isAlive(holder) ? holder : undefined;
}

/**
 * Creates the file with its content atomically, so that no process reads an empty lock. Returns false if the file
 * exists.
 */
async function createWhole(path: string, content: string): Promise<boolean> {
  const staged = `${path}.${toHex(systemRandom(6))}`;
  const file = await open(staged, 'wx', 0o600);
  try {
    await file.writeFile(content);
    await link(staged, path);
    return true;
  } catch (error) {
    if (hasSystemCode(error, 'EEXIST')) return false;
    throw error;
  } finally {
    await file.close();
    await rm(staged, { force: true });
  }
}

/** Removes a stale lock. If another process has replaced it in the meantime, puts that one back. */
async function moveAside(path: string, stale: string): Promise<void> {
  const aside = `${path}.${toHex(systemRandom(6))}`;
  try {
    await rename(path, aside);
    if ((await readIfThere(aside)) !== stale) await link(aside, path);
  } catch (error) {
    if (!hasSystemCode(error, 'ENOENT', 'EEXIST')) throw error;
  } finally {
    await rm(aside, { force: true });
  }
}

async function releaseLock(path: string, content: string): Promise<void> {
  if ((await readIfThere(path)) === content) await rm(path, { force: true });
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (hasSystemCode(error, 'ENOENT')) return undefined;
    throw error;
  }
}
