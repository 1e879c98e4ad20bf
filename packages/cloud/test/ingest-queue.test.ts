import { type Closable, encodeCbor, MemoryMetrics, MillraceError, silentLogger, systemClock } from '@millrace/base';
import { MemoryRecords } from '@millrace/stores';
import { twoSegmentsNodes } from '@millrace/testkit/protocol/support';
import { afterEach, expect, it, vi } from 'vitest';
import { z } from 'zod';
import { distributionClient } from '../src/node/api-clients.ts';
import { type IngestJob, ingestFields, ingestTable } from '../src/segments/ingest-job.ts';
import { IngestQueue } from '../src/segments/ingest-queue.ts';
import { StagedSegments } from '../src/segments/staged-segments.ts';

const schema = z.strictObject(ingestFields);
type Record = z.output<typeof schema>;
const { directory } = twoSegmentsNodes();

const open: Closable[] = [];
afterEach(async () => {
  for (const queue of open.splice(0)) await queue.close();
});

/** A queue whose job fails with `failures`, one per attempt, and then succeeds. `events` records the calls. */
function queueOf(store = new MemoryRecords(), failures: MillraceError[] = []) {
  const events: string[] = [];
  const metrics = new MemoryMetrics();
  const http = {
    call: async (method: string, path: string) => {
      events.push(`${method} ${path}`);
      return { status: 200, body: new Uint8Array(), json: () => ({}) };
    },
    close: () => undefined,
  };
  const job: IngestJob<Record> & { hold?: Promise<void> } = {
    name: 'store',
    repeats: true,
    pending: ingestTable(store, 'storing', schema),
    ingest: async ({ design }, signal) => {
      events.push(`ingest ${design}`);
      const failure = failures.shift();
      if (failure !== undefined) throw failure;
      await job.hold;
      signal.throwIfAborted();
    },
    complete: async (id) => void events.push(`complete ${id}`),
    refuse: async (id, _record, { code }) => void events.push(`refuse ${id} ${code}`),
  };
  const staged = new StagedSegments({
    distributions: { of: () => [{ id: 'distribution-1', client: distributionClient(http) }] },
    store,
    clock: systemClock,
    logger: silentLogger,
  });
  const queue = new IngestQueue({
    job,
    node: 'segments-1',
    directory,
    staged,
    clock: systemClock,
    logger: silentLogger,
    metrics,
  });
  open.push(queue, staged);
  queue.start();
  return { queue, job, events, metrics };
}

const stepsOf = (design: string) => [`ingest ${design}`, `DELETE /v1/uploads/${design}`, `complete ${design}`];

it('stores the segments, wipes the staging copies, then completes, one upload at a time', async () => {
  const { queue, events, metrics } = queueOf();
  await queue.begin('a', { design: 'a' });
  await queue.begin('b', { design: 'b' });
  await vi.waitFor(() => expect(events).toContain('complete b'));
  expect(events).toEqual([...stepsOf('a'), ...stepsOf('b')]);
  await vi.waitFor(() => expect(metrics.value('millrace_ingest_total', { job: 'store', outcome: 'complete' })).toBe(2));
});

it('retries transient errors and refuses the design after a permanent error', async () => {
  const { queue, job, events } = queueOf(new MemoryRecords(), [
    new MillraceError('E_UNAVAILABLE', 'not now'),
    new MillraceError('E_SEGMENT', 'not what was signed'),
  ]);
  await queue.begin('a', { design: 'a' });
  await vi.waitFor(() => expect(events).toContain('refuse a E_SEGMENT'));
  expect(events).toEqual(['ingest a', 'ingest a', 'refuse a E_SEGMENT']);
  await vi.waitFor(async () => expect(await job.pending.get('a')).toMatchObject({ ended: 'refused' }));
  await queue.begin('a', { design: 'a' });
  await vi.waitFor(() => expect(events).toEqual(['ingest a', 'ingest a', 'refuse a E_SEGMENT', ...stepsOf('a')]));
});

it('does a job once, however often the mail about it comes', async () => {
  const { queue, job, events } = queueOf();
  await queue.begin('a', { design: 'a' });
  await queue.begin('a', { design: 'a' });
  await vi.waitFor(async () => expect(await job.pending.get('a')).toMatchObject({ ended: 'complete' }));
  await queue.begin('a', { design: 'a' });
  await queue.begin('b', { design: 'b' });
  await vi.waitFor(() => expect(events).toContain('complete b'));
  expect(events).toEqual([...stepsOf('a'), ...stepsOf('b')]);
});

it('does other jobs while a failed one waits', async () => {
  const longest = vi.spyOn(Math, 'random').mockReturnValue(0.99); // a shorter wait may end before the other job begins
  const { queue, events } = queueOf(new MemoryRecords(), [new MillraceError('E_UNAVAILABLE', 'not now')]);
  await queue.begin('a', { design: 'a' });
  await queue.begin('b', { design: 'b' });
  await vi.waitFor(() => expect(events).toContain('complete a'));
  longest.mockRestore();
  expect(events.slice(0, 2)).toEqual(['ingest a', 'ingest b']);
});

it('continues after a restart, and does not fetch stored segments again', async () => {
  const store = new MemoryRecords();
  // As an earlier version has written it.
  await store.collection('storing').put('a', encodeCbor({ design: 'a', stored: true }));
  const { events } = queueOf(store);
  await vi.waitFor(() => expect(events).toContain('complete a'));
  expect(events).toEqual(['DELETE /v1/uploads/a', 'complete a']);
});

it('stops storing a cancelled design', async () => {
  const { queue, job, events } = queueOf();
  let release: () => void = () => undefined;
  job.hold = new Promise((resolve) => {
    release = resolve;
  });
  await queue.begin('a', { design: 'a' });
  await queue.begin('again', { design: 'a' });
  await queue.begin('b', { design: 'b' });
  await vi.waitFor(() => expect(events).toEqual(['ingest a']));
  await queue.cancel('a');
  release();
  await vi.waitFor(() => expect(events).toContain('complete b'));
  expect(events).toEqual(['ingest a', 'ingest b', 'DELETE /v1/uploads/b', 'complete b']);
});
