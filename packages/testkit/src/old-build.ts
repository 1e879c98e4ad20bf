import { execFile, spawnSync } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readdir, readlink, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { type Build, presentBuild } from './hosts.ts';

const root = fileURLToPath(new URL('../../..', import.meta.url));

export interface OldBuild extends Build {
  close(): Promise<void>;
}

/**
 * Builds the sources of an earlier commit in a temporary folder, with the present third-party packages.
 * @returns why it cannot be built: a shallow clone does not have the commit
 */
export async function buildCommit(commit: string): Promise<OldBuild | string> {
  if (spawnSync('git', ['cat-file', '-e', `${commit}^{commit}`], { cwd: root }).status !== 0)
    return `this checkout does not have commit ${commit}: two versions are not run side by side`;
  const folder = await mkdtemp(join(tmpdir(), 'millrace-old-'));
  // Users of the hosts read it.
  await chmod(folder, 0o755);
  const close = () => rm(folder, { recursive: true, force: true });
  try {
    const run = promisify(execFile);
    const archive = join(folder, 'sources.tar');
    await run('git', ['archive', '--output', archive, commit], { cwd: root });
    await run('tar', ['-xf', archive], { cwd: folder });
    await linkPackages(folder);
    await run(process.execPath, ['scripts/build.mjs'], { cwd: folder, maxBuffer: 1 << 26 });
  } catch (error) {
    await close();
    throw error;
  }
  const at = (file: string) => file.replace(root, `${folder}/`);
  return { program: at(presentBuild.program), agent: at(presentBuild.agent), close };
}

/** Third-party packages are shared; Millrace's own are those of `folder`. */
async function linkPackages(folder: string): Promise<void> {
  const from = join(root, 'node_modules');
  const to = join(folder, 'node_modules');
  await mkdir(join(to, '@millrace'), { recursive: true });
  for (const name of await readdir(from)) if (name !== '@millrace') await symlink(join(from, name), join(to, name));
  for (const name of await readdir(join(from, '@millrace')))
    await symlink(await readlink(join(from, '@millrace', name)), join(to, '@millrace', name));
}
