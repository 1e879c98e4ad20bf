import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import type { MachineConfig } from '../src/agent/config.ts';
import { Adaptation, type Level, levelsOf } from '../src/agent/matrix-level.ts';
import { SegmentRate } from '../src/agent/segment-rate.ts';
import { createTables, type TableModules } from '../src/agent/tables.ts';

const SLOW = 8_000;
const full: Level = { order: 24, suite: 'keccak256' };
const light: Level = { order: 16, suite: 'turboshake128' };

function bench(free = 1e9, levels = levelsOf({ order: 'auto', suite: 'auto' })) {
  const state = { at: 0, free };
  const adaptation = new Adaptation({
    levels,
    slowMs: SLOW,
    clock: { now: () => state.at, monotonic: () => state.at },
    freeBytes: () => state.free,
  });
  return { state, adaptation };
}

/** Simulates a print: a table every few seconds at the computer's speed then, and a probe table when one is due. */
function live(speeds: readonly { readonly seconds: number; readonly fullMs: number }[]) {
  const { state, adaptation } = bench();
  const changes: { at: number; order: number }[] = [];
  let order = adaptation.wanted.order;
  for (const { seconds, fullMs } of speeds) {
    for (const end = state.at + seconds * 1_000; state.at < end; ) {
      const inUse = adaptation.wanted;
      const ms = inUse.order === 24 ? fullMs : fullMs / 500;
      state.at += Math.max(5_000, 2 * ms);
      adaptation.took(inUse, ms);
      if (inUse.order === 16 && adaptation.trialDue) adaptation.took(full, Math.min(fullMs, SLOW + 1));
      if (adaptation.wanted.order === order) continue;
      order = adaptation.wanted.order;
      changes.push({ at: state.at, order });
    }
  }
  return { changes, order };
}

describe('the levels', () => {
  it('are those that the settings allow, the most expensive first', () => {
    expect(levelsOf({ order: 'auto', suite: 'auto' })).toEqual([full, light]);
    expect(levelsOf({ order: 24, suite: 'keccak256' })).toEqual([full]);
    expect(levelsOf({ order: 24, suite: 'auto' })).toEqual([full, { order: 24, suite: 'turboshake128' }]);
    expect(levelsOf({ order: 'auto', suite: 'turboshake128' })).toEqual([{ order: 24, suite: 'turboshake128' }, light]);
  });

  it('set by an operator are kept on slow computers', () => {
    const { adaptation } = bench(0, levelsOf({ order: 24, suite: 'keccak256' }));
    for (let i = 0; i < 10; i++) adaptation.took(full, 100 * SLOW);
    expect(adaptation.wanted).toEqual(full);
    expect(adaptation.trialDue).toBe(false);
  });
});

describe('a step down', () => {
  it('happens after two slow tables in a row, not after one', () => {
    const { adaptation } = bench();
    for (const ms of [SLOW + 1, 100, SLOW + 1, SLOW]) adaptation.took(full, ms);
    expect(adaptation.wanted).toEqual(full);
    for (const ms of [SLOW + 1, SLOW + 1]) adaptation.took(full, ms);
    expect(adaptation.wanted).toEqual(light);
  });

  it('happens at once when a table is far too slow, even before it is ready', () => {
    const { adaptation } = bench();
    adaptation.unfinished(full, 2 * SLOW);
    expect(adaptation.wanted).toEqual(full);
    adaptation.unfinished(full, 2 * SLOW + 1);
    expect(adaptation.wanted).toEqual(light);
  });

  it('happens when memory is short; order 24 does not start with too little memory', () => {
    const { adaptation, state } = bench();
    state.free = 60e6;
    adaptation.took(full, 10);
    expect(adaptation.wanted).toEqual(light);
    expect(bench(200e6).adaptation.wanted).toEqual(light);
    // Another suite takes as much memory.
    expect(bench(0, levelsOf({ order: 24, suite: 'auto' })).adaptation.wanted).toEqual(full);
  });
});

describe('a step up', () => {
  it('happens after a wait and two fast probe tables, if memory suffices', () => {
    const { adaptation, state } = bench();
    adaptation.took(full, 3 * SLOW);
    state.at += 5 * SLOW - 1;
    expect(adaptation.trialDue).toBe(false);
    adaptation.took(full, 10); // too early to count
    state.at += 1;
    expect(adaptation.trialDue).toBe(true);
    adaptation.took(full, SLOW / 2);
    expect(adaptation.trialDue).toBe(false);
    state.at += SLOW;
    state.free = 200e6;
    expect(adaptation.trialDue).toBe(false);
    state.free = 1e9;
    expect(adaptation.trialDue).toBe(true);
    adaptation.took(full, SLOW / 2);
    expect(adaptation.wanted).toEqual(full);
  });

  it('waits twice as long after every slow probe table, up to a limit', () => {
    const { adaptation, state } = bench();
    adaptation.took(full, 3 * SLOW);
    const waits: number[] = [];
    for (let i = 0; i < 8; i++) {
      const from = state.at;
      while (!adaptation.trialDue) state.at += SLOW;
      waits.push((state.at - from) / SLOW);
      adaptation.took(full, SLOW / 2 + 1);
    }
    expect(waits).toEqual([5, 10, 20, 40, 80, 160, 160, 160]);
  });
});

describe('stability', () => {
  const seconds = fc.integer({ min: 1, max: 2_000 });

  it('at a constant speed: at most one change', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 200_000 }), (fullMs) => {
        const { changes } = live([{ seconds: 7_200, fullMs }]);
        expect(changes.length).toBeLessThanOrEqual(1);
      }),
    );
  });

  it('between fast enough and too slow: no change, in any sequence of table times', () => {
    const between = fc.integer({ min: SLOW / 2 + 1, max: SLOW });
    fc.assert(
      fc.property(fc.array(fc.record({ seconds, fullMs: between }), { minLength: 1, maxLength: 50 }), (speeds) => {
        expect(live(speeds).changes).toEqual([]);
        expect(live([{ seconds: 60, fullMs: 10 * SLOW }, ...speeds]).order).toBe(16);
      }),
    );
  });

  it('at any sequence of table times: changes are rare, and a step up never soon follows a step down', () => {
    const any = fc.oneof(fc.integer({ min: 1, max: SLOW }), fc.integer({ min: SLOW, max: 20 * SLOW }));
    fc.assert(
      fc.property(fc.array(fc.record({ seconds, fullMs: any }), { minLength: 1, maxLength: 60 }), (speeds) => {
        const { changes } = live(speeds);
        const total = speeds.reduce((sum, { seconds }) => sum + 1_000 * seconds, 0);
        // A step down and up takes the time of 25 slow tables, except the first ones, whose waits double.
        expect(changes.length).toBeLessThanOrEqual(2 * (total / (25 * SLOW) + 7));
        for (const [i, { at, order }] of changes.entries()) {
          if (order === 24) expect(at - (changes[i - 1]?.at ?? 0)).toBeGreaterThanOrEqual(5 * SLOW);
        }
      }),
    );
  });

  it('follows a computer that is slow for a while', () => {
    const { changes } = live([
      { seconds: 300, fullMs: 500 },
      { seconds: 300, fullMs: 60_000 },
      { seconds: 3_000, fullMs: 500 },
    ]);
    expect(changes.map(({ order }) => order)).toEqual([16, 24]);
  });
});

describe('the buffered segments', () => {
  it('last as long as the machine took for its latest segments', () => {
    const ahead = new SegmentRate();
    expect(ahead.millisecondsFor(10)).toBe(0);
    for (let at = 0; at < 5; at++) ahead.taken(at); // into its buffer
    for (let at = 1; at <= 8; at++) ahead.taken(at * 4_000);
    expect(ahead.millisecondsFor(5)).toBe(20_000);
  });
});

describe('memory', () => {
  it('is what the agent’s container leaves, not what is free on the computer', () => {
    const config = { data: '/nowhere', agent: { order: 'auto', suite: 'auto', slowTableMs: SLOW } } as MachineConfig;
    const modules = { clock: { now: () => 0, monotonic: () => 0 } } as TableModules;
    const available = vi.spyOn(process, 'availableMemory');
    try {
      available.mockReturnValue(50e6);
      expect(createTables(config, modules).wanted.order).toBe(16);
      available.mockReturnValue(8e9);
      expect(createTables(config, modules).wanted.order).toBe(24);
    } finally {
      available.mockRestore();
    }
  });
});
