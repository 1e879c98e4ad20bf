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
