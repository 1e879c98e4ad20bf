import { readdir, readFile, readlink, realpath } from 'node:fs/promises';
import { resolve } from 'node:path';

/**
 * The process of this computer that was started with `--folder` and this folder, as the programs of nodes are. Other
 * systems than Linux do not show other processes' arguments: nothing is found there, nor in other PID namespaces.
 */
export async function folderProcess(folder: string): Promise<number | undefined> {
  if (process.platform !== 'linux') return undefined;
  const wanted = await realpath(folder);
  for (const name of await readdir('/proc')) {
    const pid = Number(name);
    if (!Number.isSafeInteger(pid) || pid === process.pid) continue;
    if ((await folderOf(pid).catch(() => undefined)) === wanted) return pid;
  }
  return undefined;
}

/** @throws when the process has ended, or belongs to somebody else */
async function folderOf(pid: number): Promise<string | undefined> {
  const args = (await readFile(`/proc/${pid}/cmdline`, 'utf8')).split('\0');
  const folder = args[args.indexOf('--folder') + 1];
  if (!args.includes('--folder') || folder === undefined) return undefined;
  return realpath(resolve(await readlink(`/proc/${pid}/cwd`), folder));
}
