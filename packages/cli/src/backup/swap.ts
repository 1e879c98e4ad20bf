import { access, open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { flush } from '@millrace/base';
import type { Layout } from '../installation/layout.ts';

// How a restored state takes the place of the one before: it is made whole in a folder beside it, then a file says so, then
// two folders change their names. Killed anywhere, the next command that has the lock goes on, or takes the part away.

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

/** Where the restored state is made: an empty place, whose folder `nodes` will be the installation's. */
export const stagingOf = (layout: Layout): string => foldersOf(layout).staging;

/** From here on the staged state is the one that counts. Durable when it resolves. */
export async function commitStaged(layout: Layout): Promise<void> {
  const { ready } = foldersOf(layout);
  const file = await open(ready, 'wx', 0o600);
  await file.sync().finally(() => file.close());
  await flush(dirname(ready));
}

/** Goes on with a restoring that was cut short: to its end when it was ready, else to nothing. The caller has the lock. */
export async function finishRestoring(layout: Layout): Promise<void> {
  const { nodes, staging, staged, before, ready } = foldersOf(layout);
  if (await exists(ready)) {
    if (await exists(staged)) {
      if (!(await exists(before))) await rename(nodes, before);
      await rename(staged, nodes);
    }
    await flush(staging);
    await flush(layout.home);
    // What was before goes while the file still says that the rest is done.
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
