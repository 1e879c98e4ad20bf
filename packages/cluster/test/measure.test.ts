import { MemoryMetrics, MillraceError, systemClock } from '@millrace/base';
import { expect, it } from 'vitest';
import { InFlight } from '../src/cassandra/in-flight.ts';
import { Measure } from '../src/cassandra/measure.ts';

it('measures requests by level, and counts those that fail by code', async () => {
  const metrics = new MemoryMetrics();
  const clock = { ...systemClock, monotonic: () => time };
  let time = 1_000;
  const measure = new Measure({ clock, metrics });
  const taking = async (ms: number) => {
    time += ms;
    return ms;
  };
  expect(await measure.request('quorum', () => taking(20))).toBe(20);
  await measure.request('quorum', () => taking(40));
  await measure.request('serial', () => taking(500));
  const failure = new MillraceError('E_TIMEOUT', 'no answer');
  await expect(measure.request('serial', () => Promise.reject(failure))).rejects.toMatchObject({ code: 'E_TIMEOUT' });
  expect(metrics.value('millrace_cassandra_seconds', { level: 'quorum' })).toBeCloseTo(0.06);
  expect(metrics.value('millrace_cassandra_seconds', { level: 'serial' })).toBeCloseTo(0.5);
  expect(metrics.value('millrace_cassandra_failures_total', { code: 'E_TIMEOUT' })).toBe(1);
});

it('knows how many tasks wait', async () => {
  const tasks = new InFlight(1);
  let end: () => void = () => undefined;
  const first = tasks.run(
    () =>
      new Promise<void>((resolve) => {
        end = resolve;
      }),
  );
  const second = tasks.run(async () => undefined);
  expect(tasks.waiting).toBe(1);
  end();
  await Promise.all([first, second]);
  expect(tasks.waiting).toBe(0);
});
