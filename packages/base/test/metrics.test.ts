import { describe, expect, it } from 'vitest';
import { MemoryMetrics, noMetrics } from '../src/index.ts';

describe('in-memory metrics', () => {
  it('add to one counter series per set of labels, whatever the order of the labels', () => {
    const metrics = new MemoryMetrics();
    const refused = metrics.counter('mail_refused_total', 'refused messages');
    refused.add(1, { from: 'keys', type: 'vault' });
    refused.add(2, { type: 'vault', from: 'keys' });
    refused.add(1, { type: 'vault', from: 'control' });
    expect(metrics.value('mail_refused_total', { from: 'keys', type: 'vault' })).toBe(3);
    expect(metrics.value('mail_refused_total', { from: 'control', type: 'vault' })).toBe(1);
    expect(metrics.value('mail_refused_total')).toBeUndefined();
    expect(() => refused.add(-1)).toThrow(RangeError);
  });

  it('keep the newest value of a gauge, and sum and count of a histogram', () => {
    const metrics = new MemoryMetrics();
    const streams = metrics.gauge('streams', 'open streams');
    streams.set(3);
    streams.set(1);
    const sweeps = metrics.histogram('sweep_ms', 'duration of sweeps');
    sweeps.observe(40);
    sweeps.observe(2);
    const seen = metrics.samples().map(({ name, kind, value, count }) => ({ name, kind, value, count }));
    expect(seen).toEqual([
      { name: 'streams', kind: 'gauge', value: 1, count: 2 },
      { name: 'sweep_ms', kind: 'histogram', value: 42, count: 2 },
    ]);
  });

  it('return the same instrument for the same name, and reject another kind', () => {
    const metrics = new MemoryMetrics();
    metrics.counter('permits_total', 'permits').add();
    metrics.counter('permits_total', 'permits').add();
    expect(metrics.value('permits_total')).toBe(2);
    expect(() => metrics.gauge('permits_total', 'permits')).toThrow(RangeError);
  });

  it('can be disabled', () => {
    noMetrics.counter('a', '').add();
    noMetrics.gauge('b', '').set(1);
    noMetrics.histogram('c', '').observe(1);
  });
});
