import { access, open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { flush } from '@millrace/base';
import type { Layout } from '../installation/layout.ts';

// Replaces the current state by a restored one. The restored state is built completely in an adjacent folder, then a
// file commits it, then two folders are renamed. After a crash at any point, the next command that holds the lock
// completes the operation or removes the partial state.

const foldersOf = ({ home }: Layout) => {
  const staging = join(home, '.restoring');
  return {
    nodes: join(home, 'nodes'),
    staging,
    staged: join(staging, 'nodes'),
    before: join(staging, 'before'),
    ready: join(staging, 'ready'),
  };
};

/** Empty folder in which the restored state is built. Its folder `nodes` becomes the installation's. */
export const stagingOf = (layout: Layout): string => foldersOf(layout).staging;

/** Commits the staged state. Durable once it resolves. */
export async function commitStaged(layout: Layout): Promise<void> {
  const { ready } = foldersOf(layout);
  const file = await open(ready, 'wx', 0o600);
  await file.sync().finally(() => file.close());
  await flush(dirname(ready));
}

/**
 * Continues an interrupted restore: completes it if it was committed, otherwise removes it. The caller holds the lock.
 */
export async function finishRestoring(layout: Layout): Promise<void> {
  const { nodes, staging, staged, before, ready } = foldersOf(layout);
  if (await exists(ready)) {
    if (await exists(staged)) {
      if (!(await exists(before))) await rename(nodes, before);
      await rename(staged, nodes);
    }
    await flush(staging);
    await flush(layout.home);
    // Remove the previous state while the commit file still exists.
    await rm(before, { recursive: true, force: true });
    await rm(ready);
  }
  await rm(staging, { recursive: true, force: true });
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
