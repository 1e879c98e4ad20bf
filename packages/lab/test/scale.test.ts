import { describe, expect, it } from 'vitest';
import type { SavedReport } from '../src/bench.ts';
import { exponential, Station, seeded, Timeline } from '../src/scale/events.ts';
import { type Measured, measuredFrom, readMeasured, readScenario, type Scenario } from '../src/scale/inputs.ts';
import { limits, plan, shortestPeriod } from '../src/scale/model.ts';
import { meanWait, simulatePermits, simulateSweep, sweepTime } from '../src/scale/simulate.ts';

const results = new URL('../../../docs/performance/results/', import.meta.url).pathname;
const GiB = 2 ** 30;

describe('the timeline', () => {
  it('runs events in order of time, then of planning', () => {
    const timeline = new Timeline();
    const seen: string[] = [];
    for (const [at, name] of [
      [3, 'c'],
      [1, 'a'],
      [1, 'b'],
      [9, 'late'],
    ] as const)
      timeline.after(at, () => seen.push(name));
    timeline.after(2, () => timeline.after(0.5, () => seen.push('between')));
    timeline.run(5);
    expect(seen).toEqual(['a', 'b', 'between', 'c']);
    expect(timeline.now).toBe(5);
  });

  it('serves in order of arrival, and no more jobs at once than it has servers', () => {
    const timeline = new Timeline();
    const station = new Station(timeline, 2);
    const ends: number[] = [];
    for (let i = 0; i < 5_000; i++) station.serve(1, () => ends.push(timeline.now));
    timeline.run();
    expect(ends).toEqual(Array.from({ length: 5_000 }, (_, i) => Math.floor(i / 2) + 1));
    expect(station.busy).toBe(5_000);
  });

  it('spaces random events at their mean rate', () => {
    const random = seeded(7);
    const mean = Array.from({ length: 50_000 }, () => exponential(random, 4)).reduce((a, b) => a + b, 0) / 50_000;
    expect(mean).toBeGreaterThan(0.245);
    expect(mean).toBeLessThan(0.255);
  });
});

describe('simulated permits', () => {
  const base = { cores: 1, entries: 1, append: 0, commit: 0, batch: 1_024, seed: 3 };

  it.each([0.3, 0.6, 0.8])('wait for a core as the formula says, at a load of %f', (load) => {
    const permit = 0.004;
    const rate = load / permit;
    const { mean, cores, waiting } = simulatePermits({ ...base, rate, permit, seconds: 60_000 / rate });
    expect((mean - permit) / meanWait(rate, permit)).toBeGreaterThan(0.9);
    expect((mean - permit) / meanWait(rate, permit)).toBeLessThan(1.1);
    expect(cores).toBeCloseTo(load, 2);
    expect(waiting).toBeLessThan(100);
  });

  it('share commits when many wait, and fall behind beyond the rate of the writer', () => {
    const options = { ...base, cores: 1_000, permit: 1e-6, entries: 4, append: 1e-4, commit: 0.01 };
    const calm = simulatePermits({ ...options, rate: 10, seconds: 1_000 });
    expect(calm.perCommit).toBeLessThan(8);
    const busy = simulatePermits({ ...options, rate: 2_000, seconds: 30 });
    expect(busy.perCommit).toBeGreaterThan(100);
    expect(busy.waiting).toBeLessThan(2_000);
    const over = simulatePermits({ ...options, rate: 4_000, seconds: 20 });
    expect(over.waiting).toBeGreaterThan(20_000);
  });
});

describe('a simulated sweep', () => {
  const options = { cells: 1e12, step: 6.7e7, lanes: 64, members: 4, renewed: 1e9, plan: 0.001, roundTrip: 0.01 };

  it('takes as long as the slower of the two nodes', () => {
    for (const each of [options, { ...options, members: 1 }, { ...options, plan: 0.05 }]) {
      const ratio = simulateSweep(each) / sweepTime(each);
      expect(ratio).toBeGreaterThan(0.999);
      expect(ratio).toBeLessThan(1.05);
    }
  });

  it('by a single lane waits for every message', () => {
    const one = { ...options, lanes: 1, members: 1, roundTrip: 0.1 };
    expect(simulateSweep(one)).toBeCloseTo(sweepTime(one) + (1e12 / 6.7e7) * (0.1 + 0.001), -2);
  });

  it('ends without a member that is lost, later', () => {
    const [whole, lost] = [options, { ...options, loss: { at: 10, pause: 10 } }].map(simulateSweep) as [number, number];
    expect(lost).toBeGreaterThan(1.2 * whole);
    expect(lost).toBeLessThan(simulateSweep({ ...options, members: 2 }));
  });
});

describe('the plan', () => {
  const measured: Measured = {
    sessionRate: 2_000,
    session: {
      control: { cores: 0, memory: 0 },
      segments: { cores: 1e-4, memory: 1e5 },
      keys: { cores: 1e-4, memory: 1e4 },
      distribution: { cores: 1e-4, memory: 1e5 },
    },
    renewed: 2e8,
    disk: 4e8,
    permit: 0.004,
    append: 4e-5,
    commit: 0.001,
    entry: 700,
  };
  let scenario: Scenario;

  it('grows with machines and cells, each by its own share', async () => {
    scenario = await readScenario(`${results}million.json`);
    const one = plan(measured, scenario);
    const more = plan(measured, { ...scenario, machines: 2 * scenario.machines });
    expect(more.needs.segments.cores / one.needs.segments.cores).toBeCloseTo(2);
    expect(more.needs.cassandra).toEqual(one.needs.cassandra);
    const larger = plan(measured, { ...scenario, cells: 2 * scenario.cells });
    expect(larger.needs.cassandra.cores / one.needs.cassandra.cores).toBeCloseTo(2);
    expect(larger.permitsPerSecond).toBe(one.permitsPerSecond);
    expect(larger.cost).toBeGreaterThan(one.cost);
  });

  it('names the limit that breaks first, and a longer period helps only cells', async () => {
    scenario = await readScenario(`${results}million.json`);
    const host = { cores: 64, memory: 512 * GiB };
    const found = limits(measured, scenario, host);
    expect(found.map(({ used }) => used)).toEqual(found.map(({ used }) => used).sort((a, b) => b - a));
    const few = limits(measured, { ...scenario, machines: 1_000, cells: 1e9 }, host);
    expect(few.every(({ used }) => used < 1)).toBe(true);
    expect(shortestPeriod(scenario, 200)).toBeCloseTo(shortestPeriod(scenario, 100) / 2);
  });

  it('reads the reports that are kept in the repository', async () => {
    const kept = await readMeasured(results);
    expect(kept.reports.map(({ bench }) => bench)).toEqual(['fleet', 'vault', 'ledger']);
    for (const report of kept.reports) expect(report.date).toMatch(/^\d{4}-\d\d-\d\d$/);
    const figures = [kept.measured.renewed, kept.measured.permit, kept.measured.append, kept.measured.entry];
    for (const figure of figures) expect(figure).toBeGreaterThan(0);
  });

  it('refuses a report that lacks a row, and names it', () => {
    const empty = (bench: string): SavedReport => ({
      ...{ bench, date: '2026-01-01', load: 0, rows: [], ratios: [] },
      machine: { cpu: '', cores: 1, memoryGiB: 1, node: '', os: '' },
    });
    expect(() => measuredFrom(empty('fleet'), empty('vault'), empty('ledger'))).toThrow(/report of fleet has no row/);
  });
});
