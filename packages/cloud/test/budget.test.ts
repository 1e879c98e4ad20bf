import type { Clock } from '@millrace/base';
import { describe, expect, it } from 'vitest';
import { Budget, type Spent } from '../src/keys/budget.ts';
import { budgetSchema } from '../src/settings.ts';

class ManualClock implements Clock {
  #now = 1_000;
  now(): number {
    return this.#now;
  }
  monotonic(): number {
    return this.#now;
  }
  advance(milliseconds: number): void {
    this.#now += milliseconds;
  }
}

const spent = (more: Partial<Spent> = {}): Spent => ({
  cells: 100,
  points: 0,
  bytes: 1_638_600,
  workMs: 50,
  wireBytes: 12_500,
  ...more,
});

describe('the maintenance budget', () => {
  it('without limits never waits, and still counts the cost', () => {
    const budget = new Budget(undefined, new ManualClock());
    for (let i = 0; i < 1_000; i++) expect(budget.spend(spent())).toBe(0);
    // 1,000 steps: 12.5 MB on the wire; 300,000 hashes.
    expect(budget.money).toBeCloseTo(0.0125 * 0.087 + (300_000 / 3.6e11) * 0.05, 9);
    expect(budget.heldBackBy).toBeUndefined();
  });

  it.each([
    ['bytesPerSecond', { bytesPerSecond: 819_300 }, 2_000],
    ['coreShare', { coreShare: 0.1 }, 500],
    // 0.0125 MB at a price of 1 per GB cost 0.0000125; at 0.0000125 per second of the month: one second.
    ['moneyPerMonth', { moneyPerMonth: 0.0000125 * 2_592_000, prices: { hash100MHour: 0, gigabyte: 1 } }, 1_000],
  ] as const)('%s: a sweep of many steps takes as long as the limit requires', (name, settings, each) => {
    const clock = new ManualClock();
    const budget = new Budget(budgetSchema.parse(settings), clock);
    budget.begin();
    const began = clock.monotonic();
    for (let i = 0; i < 20; i++) {
      clock.advance(10); // the step itself
      clock.advance(budget.spend(spent()));
    }
    expect(clock.monotonic() - began).toBeCloseTo(20 * each, 3);
    expect(budget.heldBackBy).toBe(name);
  });

  it('applies the tightest limit; does not wait after a step that took longer than its budget', () => {
    const clock = new ManualClock();
    const budget = new Budget(budgetSchema.parse({ bytesPerSecond: 1_638_600, coreShare: 0.01 }), clock);
    budget.begin();
    expect(budget.spend(spent())).toBeCloseTo(5_000, 3);
    expect(budget.heldBackBy).toBe('coreShare');
    budget.begin();
    clock.advance(6_000);
    expect(budget.spend(spent())).toBe(0);
    expect(budget.heldBackBy).toBeUndefined();
  });

  it('makes steps smaller when the budget is small', () => {
    const step = (bytesPerSecond: number) =>
      new Budget(budgetSchema.parse({ bytesPerSecond }), new ManualClock()).step(4_096, 16_386);
    expect(step(1)).toBe(16);
    expect(step(1_638_600)).toBe(100);
    expect(step(1e9)).toBe(4_096);
    expect(new Budget(undefined, new ManualClock()).step(4_096, 16_386)).toBe(4_096);
  });

  it('rejects invalid settings', () => {
    for (const wrong of [{ bytesPerSecond: 0 }, { coreShare: -1 }, { moneyPerMonth: 'much' }, { other: 1 }])
      expect(budgetSchema.safeParse(wrong).success).toBe(false);
  });
});
