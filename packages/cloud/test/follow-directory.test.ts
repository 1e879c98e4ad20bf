import { MillraceError, silentLogger } from '@millrace/base';
import { afterEach, expect, it, vi } from 'vitest';
import type { NodeConfig } from '../src/config.ts';
import { followDirectory } from '../src/node/follow-directory.ts';

afterEach(() => void vi.useRealTimers());

it('asks the next source for a newer directory when the previous one does not answer', async () => {
  vi.useFakeTimers();
  const offered: unknown[] = [];
  const directories = {
    sequence: 4,
    hash: 'ab'.repeat(32),
    offer: async (document: unknown) => void offered.push(document),
    refresh: async () => false,
    subscribe: () => undefined,
  };
  const revocations = { get: async () => undefined };
  const control = {
    revocations,
    directory: { newest: () => Promise.reject(new MillraceError('E_UNAVAILABLE', 'moved')) },
  };
  const distribution = {
    revocations,
    directory: { newest: async (query?: { after?: number | undefined }) => ({ after: query?.after }) },
  };
  const following = followDirectory({ directories } as unknown as NodeConfig, {
    sources: [control, distribution] as never,
    logger: silentLogger,
  });
  await vi.advanceTimersByTimeAsync(60_000);
  expect(offered[0]).toEqual({ after: 4 });
  const closing = following.close();
  await vi.advanceTimersByTimeAsync(60_000);
  await closing;
});

it('asks every source, so that control cannot withhold a directory, and guests only where control does not answer', async () => {
  vi.useFakeTimers();
  const offered: unknown[] = [];
  const directories = {
    ...{ sequence: 4, hash: 'ab'.repeat(32), refresh: async () => false, subscribe: () => undefined },
    offer: async (document: unknown) => {
      offered.push(document);
      if (document === 'old') throw new MillraceError('E_DIRECTORY', 'older');
      return true;
    },
  };
  const revocations = { get: async () => undefined };
  const answering = (newest: () => unknown) => ({ revocations, directory: { newest: async () => newest() } });
  const run = async (control: () => unknown) => {
    offered.length = 0;
    const following = followDirectory({ directories } as unknown as NodeConfig, {
      sources: [answering(control), answering(() => 'of distribution')] as never,
      guest: answering(() => 'of the guest') as never,
      logger: silentLogger,
    });
    await vi.advanceTimersByTimeAsync(31_000);
    const closing = following.close();
    await vi.advanceTimersByTimeAsync(31_000);
    await closing;
    return offered.slice(0, 2).sort();
  };
  expect(await run(() => undefined)).toEqual(['of distribution']);
  expect(await run(() => 'old')).toEqual(['of distribution', 'old']);
  const refuse = () => {
    throw new MillraceError('E_AUTH', 'the directory does not name this node');
  };
  expect(await run(refuse)).toEqual(['of distribution', 'of the guest']);
});
