import { MAX_REPORT_BYTES, MAX_SAMPLES, type MetricSample } from '@millrace/api';
import { MemoryMetrics } from '@millrace/base';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { metricsText } from '../src/control/metrics.ts';
import { NodeMetrics } from '../src/control/node-metrics.ts';
import { reported } from '../src/node/metrics-reporter.ts';
import { type ApiFixture, apiFixture } from './api-fixture.ts';

let system: ApiFixture;
beforeAll(async () => {
  system = await apiFixture();
});
afterAll(() => system?.close());

/** Series by name and labels. Refuses what Prometheus refuses. */
function parseText(text: string): Map<string, number> {
  const series = new Map<string, number>();
  const types = new Map<string, string>();
  let family = '';
  for (const line of text.trimEnd().split('\n')) {
    const [, name = '', type = ''] = /^# TYPE (\w+) (counter|gauge|summary)$/.exec(line) ?? [];
    if (name !== '') {
      expect(types.has(name), `one TYPE line for ${name}`).toBe(false);
      types.set(name, type);
      family = name;
    } else if (!line.startsWith('# HELP ')) {
      const match = /^(\w+)(\{(?:\w+="(?:[^"\\\n]|\\[\\n"])*",?)*\}) (-?[\d.e+-]+)$/.exec(line);
      if (match === null) throw new Error(`not a series: ${line}`);
      const suffix = types.get(family) === 'summary' ? /_(sum|count)$/ : /$/;
      expect(match[1]?.replace(suffix, '')).toBe(family);
      expect(series.has(`${match[1]}${match[2]}`), line).toBe(false);
      series.set(`${match[1]}${match[2]}`, Number(match[3]));
    }
  }
  return series;
}

const sample = (name: string, value: number, more: Partial<MetricSample> = {}): MetricSample => ({
  ...{ name, kind: 'gauge', help: 'a test', labels: {}, value, count: 1 },
  ...more,
});
const read = async () => {
  const { status, text } = await system.ask('admin', { method: 'GET', path: '/v1/metrics' });
  expect(status).toBe(200);
  return parseText(text);
};
const report = (role: 'keys' | 'segments' | 'distribution', samples: readonly unknown[]) =>
  system.ask(role, { method: 'POST', path: '/v1/metrics', json: { samples } });

describe('metrics', () => {
  it('of every node have its name, whatever it sends', async () => {
    expect((await report('keys', [sample('millrace_vault_epoch', 7)])).status).toBe(200);
    const forged = sample('millrace_vault_epoch', 3, { labels: { node: 'keys', role: 'keys', disk: '"\\\n}' } });
    expect((await report('segments', [forged, sample('millrace_ledger_entries', 0)])).status).toBe(200);
    const series = await read();
    expect(series.get('millrace_vault_epoch{node="keys",role="keys"}')).toBe(7);
    expect(series.get('millrace_vault_epoch{node="segments",role="segments",disk="\\"\\\\\\n}"}')).toBe(3);
    expect(series.get('millrace_ledger_entries{node="segments",role="segments"}')).toBe(0);
    expect(series.get('millrace_ledger_entries{node="control-1",role="control"}')).toBe(system.context.ledger.size);
  });

  it('have one kind a name, and histograms a sum and a number', async () => {
    const times = sample('millrace_sweep_ms', 300, { kind: 'histogram', count: 2 });
    await report('keys', [times]);
    await report('segments', [sample('millrace_sweep_ms', 1)]);
    const series = await read();
    expect(series.get('millrace_sweep_ms_sum{node="keys",role="keys"}')).toBe(300);
    expect(series.get('millrace_sweep_ms_count{node="keys",role="keys"}')).toBe(2);
    expect(series.has('millrace_sweep_ms{node="segments",role="segments"}')).toBe(false);
  });

  it('name every node of the directory, also one that has not called since control started', () => {
    const { context } = system;
    const at = context.clock.now();
    const [silent, seen] = context.directory.nodes.filter(({ role }) => role !== 'control');
    const text = metricsText({ ...context, seen: new Map([[seen?.id ?? '', { role: seen?.role ?? 'keys', at }]]) });
    const value = (peer = '') =>
      new RegExp(`^millrace_node_seen_seconds\\{peer="${peer}",.*\\} (.*)$`, 'm').exec(text)?.[1];
    expect([value(silent?.id), value(seen?.id)]).toEqual(['0', String(at / 1_000)]);
  });

  it('of a node have bounded bytes, and the node keeps to it', async () => {
    const large = Array.from({ length: MAX_SAMPLES + 1 }, (_, number) =>
      sample(`a${number}`, 1, { help: 'é'.repeat(200), labels: { a: 'é'.repeat(100) } }),
    );
    const sent = reported(large);
    expect(sent.length).toBeGreaterThan(100);
    expect(sent.length).toBeLessThan(MAX_SAMPLES);
    expect(Buffer.byteLength(JSON.stringify({ samples: sent }))).toBeLessThanOrEqual(MAX_REPORT_BYTES);
    expect((await report('keys', sent)).status).toBe(200);
    const { status, text } = await report('keys', large);
    expect([status, JSON.parse(text).code]).toEqual([413, 'E_TOO_LARGE']);
    expect(reported(Array.from({ length: MAX_SAMPLES + 1 }, () => sample('a', 1)))).toHaveLength(MAX_SAMPLES);
  });

  it('of a node that sends no more are dropped', () => {
    const { context } = system;
    const nodeMetrics = new NodeMetrics(new MemoryMetrics());
    nodeMetrics.take('keys-9', 'keys', [sample('millrace_vault_epoch', 7)], context.clock.now() - 59_000);
    expect(metricsText({ ...context, nodeMetrics })).toContain('keys-9');
    nodeMetrics.take('keys-9', 'keys', [sample('millrace_vault_epoch', 7)], context.clock.now() - 61_000);
    expect(metricsText({ ...context, nodeMetrics })).not.toContain('keys-9');
  });

  it.each([
    ['a name that ends the line', { name: 'a\nb' }],
    ['an unknown kind', { kind: 'untyped' }],
    ['a value that is no number', { value: 'NaN' }],
    ['a label with a bad name', { labels: { 'a"': 'b' } }],
    ['a long label', { labels: { a: 'b'.repeat(101) } }],
  ])('with %s are refused', async (_what, wrong) => {
    const { status, text } = await report('keys', [{ ...sample('a', 1), ...wrong }]);
    expect([status, (JSON.parse(text) as { code: string }).code]).toEqual([400, 'E_INPUT']);
  });
});
