import { describe, expect, it } from 'vitest';
import { MillraceError } from '../src/errors.ts';
import { Backoff, isTransient, retry } from '../src/retry.ts';

const away = () => new MillraceError('E_UNAVAILABLE', 'away');

/** Fails a given number of times, then succeeds. */
function failing(times: number, error: () => unknown = away) {
  let attempts = 0;
  return {
    attempt: async () => {
      if (attempts++ < times) throw error();
      return 'done';
    },
    attempts: () => attempts,
  };
}

describe('a transient error', () => {
  it('is one with a retryable code, or of a failed connection', () => {
    expect(isTransient(away())).toBe(true);
    expect(isTransient(new MillraceError('E_INPUT', 'wrong'))).toBe(false);
    expect(isTransient(Object.assign(new Error('x'), { code: 'ECONNREFUSED' }))).toBe(true);
    expect(isTransient(Object.assign(new Error('x'), { code: 'ENOENT' }))).toBe(false);
    expect(isTransient(new Error('x'))).toBe(false);
    expect(isTransient('ECONNREFUSED')).toBe(false);
  });
});

describe('backoff delays', () => {
  it('are between 0 and a limit that doubles up to the maximum', () => {
    const most = new Backoff({ firstMs: 100, mostMs: 500, random: () => 0.999_999 });
    expect(Array.from({ length: 5 }, () => Math.round(most.next()))).toEqual([100, 200, 400, 500, 500]);
    most.reset();
    expect(Math.round(most.next())).toBe(100);
    const least = new Backoff({ firstMs: 100, mostMs: 500, random: () => 0 });
    expect([least.next(), least.next()]).toEqual([0, 0]);
    const delays = Array.from({ length: 200 }, () => new Backoff({ firstMs: 100, mostMs: 500 }).next());
    expect(Math.min(...delays)).toBeLessThan(20);
    expect(Math.max(...delays)).toBeGreaterThan(80);
  });
});

describe('retry', () => {
  it('repeats until it succeeds, and reports every error', async () => {
    const { attempt, attempts } = failing(3);
    const told: unknown[] = [];
    expect(await retry(attempt, { firstMs: 1, onRetry: (error) => told.push(error) })).toBe('done');
    expect(attempts()).toBe(4);
    expect(told).toHaveLength(3);
  });

  it('gives up at once on permanent errors and on those that the caller excludes', async () => {
    const wrong = failing(9, () => new MillraceError('E_INPUT', 'wrong'));
    await expect(retry(wrong.attempt, { firstMs: 1 })).rejects.toMatchObject({ code: 'E_INPUT' });
    expect(wrong.attempts()).toBe(1);
    const excluded = failing(9);
    await expect(retry(excluded.attempt, { firstMs: 1, when: () => false })).rejects.toThrow('away');
    expect(excluded.attempts()).toBe(1);
  });

  it('starts no attempt after its deadline', async () => {
    let time = 0;
    const { attempt, attempts } = failing(99);
    const options = { forMs: 100, firstMs: 1, random: () => 0.5, now: () => (time += 40) };
    await expect(retry(attempt, options)).rejects.toThrow('away');
    expect(attempts()).toBe(3);
  });

  it('ends when the signal is aborted, also during a delay', async () => {
    const stop = new AbortController();
    const waiting = retry(failing(99).attempt, { firstMs: 60_000, random: () => 0.9, signal: stop.signal });
    setTimeout(() => stop.abort(new Error('stopped')), 5);
    await expect(waiting).rejects.toThrow('stopped');
    const aborted = failing(99);
    await expect(retry(aborted.attempt, { signal: stop.signal })).rejects.toThrow('stopped');
    expect(aborted.attempts()).toBe(0);
  });
});
