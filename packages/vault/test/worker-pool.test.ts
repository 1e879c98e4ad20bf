import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { MillraceError } from '@millrace/base';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WorkerPool, type WorkerPoolOptions } from '../src/worker-pool.ts';

interface Task {
  readonly ms: number;
  readonly fails?: string;
  readonly dies?: boolean;
}

let folder: string;
let script: URL;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-pool-'));
  const path = join(folder, 'thread.mjs');
  script = pathToFileURL(path);
  await writeFile(
    path,
    `import { threadId } from 'node:worker_threads';
     import { serveJobs } from ${JSON.stringify(new URL('../dist/worker-jobs.js', import.meta.url).href)};
     serveJobs(({ ms, fails, dies }) => {
       if (dies) queueMicrotask(() => { throw new Error('dead'); }); // before the thread takes another job
       for (const end = performance.now() + ms; performance.now() < end; );
       if (fails) throw Object.assign(new Error('failed'), { code: fails });
       return { done: threadId, transfer: [] };
     });`,
  );
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const poolOf = (options: Partial<WorkerPoolOptions> = {}) =>
  new WorkerPool<Task, number>({
    script,
    threads: 2,
    perThread: 1,
    onClose: 'finish',
    closed: () => new MillraceError('E_UNAVAILABLE', 'closed'),
    ...options,
  });

describe('WorkerPool', () => {
  it('starts threads on demand, up to its limit', async () => {
    const pool = poolOf();
    const first = await pool.run({ ms: 1 });
    expect(await pool.run({ ms: 1 })).toBe(first); // it was idle
    const all = await Promise.all(Array.from({ length: 6 }, () => pool.run({ ms: 20 })));
    expect(new Set(all).size).toBe(2);
    await pool.close();
  });

  it('passes on errors: coded errors, system errors, and those of threads that die', async () => {
    const pool = poolOf({ threads: 1 });
    const ours = await pool.run({ ms: 0, fails: 'E_SEAL' }).catch((error: unknown) => error);
    expect(ours).toBeInstanceOf(MillraceError);
    expect(ours).toMatchObject({ code: 'E_SEAL' });
    const system = await pool.run({ ms: 0, fails: 'ENOSPC' }).catch((error: unknown) => error);
    expect(system).not.toBeInstanceOf(MillraceError);
    expect(system).toMatchObject({ code: 'ENOSPC' });
    // The answer to the first job may arrive before the thread dies. Then the second job fails instead.
    const dying = await Promise.allSettled([pool.run({ ms: 0, dies: true }), pool.run({ ms: 1 })]);
    const errors = dying.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason] : []));
    expect(errors).toMatchObject([{ message: 'dead' }]);
    expect(await pool.run({ ms: 1 })).toBeGreaterThan(0);
    await pool.close();
  });

  it('finishes or abandons its jobs when it is closed', async () => {
    const finishing = poolOf({ perThread: 8, threads: 1 });
    const jobs = [1, 2, 3].map(() => finishing.run({ ms: 20 }));
    await finishing.close();
    expect(await Promise.all(jobs)).toHaveLength(3);
    await expect(finishing.run({ ms: 1 })).rejects.toMatchObject({ code: 'E_UNAVAILABLE' });

    const abandoning = poolOf({ onClose: 'abandon' });
    const lost = [1, 2, 3].map(() => abandoning.run({ ms: 60_000 }));
    const outcomes = Promise.allSettled(lost);
    await abandoning.close();
    expect((await outcomes).map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected']);
  });
});
