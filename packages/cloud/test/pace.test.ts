import type { Clock } from '@millrace/base';
import { sliceStep } from '@millrace/protocol';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PACE, PaceGuard, windowFor } from '../src/streaming/pace.ts';

class FakeClock implements Clock {
  seconds = 0;
  now() {
    return this.seconds * 1_000;
  }
  monotonic() {
    return this.seconds * 1_000;
  }
}

/** Consumes segments at `speed` times the expected pace. Returns the number acknowledged at the alarm. */
function consumeAt(speed: number, seconds: readonly number[], window: number): number | undefined {
  const clock = new FakeClock();
  const guard = new PaceGuard({ tenthsOfMs: seconds.map((s) => s * 10_000), factor: 1, window, clock });
  for (const [index, expected] of seconds.entries()) {
    clock.seconds += expected / speed;
    try {
      guard.consume(index + 1);
    } catch (error) {
      expect((error as { code: string }).code).toBe('E_ALARM');
      return index + 1;
    }
  }
  return undefined;
}

const segments = fc.array(fc.double({ min: 0.5, max: 100, noNaN: true }), { minLength: 40, maxLength: 200 });

describe('the token bucket', () => {
  it('never overflows at up to 1.5 times the expected pace', () => {
    fc.assert(
      fc.property(
        segments,
        fc.double({ min: 0.1, max: PACE, noNaN: true }),
        fc.integer({ min: 4, max: 16 }),
        (seconds, speed, window) => {
          expect(consumeAt(speed, seconds, window)).toBeUndefined();
        },
      ),
    );
  });

  it('raises an alarm at three times the pace after about twice the window and the machine’s buffer', () => {
    const even = Array.from({ length: 100 }, () => 10);
    const at = consumeAt(3, even, 8);
    // Depth 130.25 s, for 8 + 5 segments. The first segment takes 10 s (nothing fits into a full bucket), each later
    // one 10 s less 1.5 * 10/3 s = 5 s.
    expect(at).toBe(1 + Math.floor((130.25 - 10) / 5) + 1);
  });

  it('starts at the segment from which a stream is resumed after a restart', () => {
    const clock = new FakeClock();
    const guard = new PaceGuard({ tenthsOfMs: new Array(40).fill(100_000), factor: 1, window: 8, clock, from: 26 });
    guard.consume(24); // acknowledged after a later one was requested
    guard.consume(38);
    expect(() => guard.consume(40)).toThrow(/faster/);
  });

  it('stays overdrawn', () => {
    const clock = new FakeClock();
    const guard = new PaceGuard({ tenthsOfMs: new Array(20).fill(100_000), factor: 1, window: 4, clock });
    expect(() => guard.consume(10)).toThrow(/faster/);
    clock.seconds += 1e6;
    expect(() => guard.consume(10)).toThrow(/faster/);
  });

  it('lets a machine take a whole window at once after a stall; repeats cost nothing', () => {
    const clock = new FakeClock();
    const guard = new PaceGuard({ tenthsOfMs: new Array(40).fill(100_000), factor: 1, window: 8, clock });
    for (let from = 0; from + 8 <= 40; from += 8) {
      guard.consume(from + 8);
      guard.consume(from);
      guard.consume(from + 8);
      clock.seconds += 80;
    }
    expect(guard.acked).toBe(40);
  });

  it('scales with the registered factor', () => {
    const clock = new FakeClock();
    const guard = new PaceGuard({ tenthsOfMs: new Array(100).fill(10_000_000), factor: 1_000, window: 4, clock });
    for (let acked = 1; acked <= 100; acked++) {
      clock.seconds += 1; // 1,000 s of motion in one second
      guard.consume(acked);
    }
    expect(() => guard.consume(101)).toThrow(/more segments/);
  });
});

describe('a clock that jumps', () => {
  const even = () => new Array<number>(40).fill(100_000);

  it('backwards takes nothing out of the bucket', () => {
    const clock = new FakeClock();
    const guard = new PaceGuard({ tenthsOfMs: even(), factor: 1, window: 8, clock });
    clock.seconds = 3_600;
    guard.consume(1);
    clock.seconds = 0;
    for (let acked = 2; acked <= 40; acked++) {
      guard.consume(acked);
      clock.seconds += 10;
    }
    expect(guard.acked).toBe(40);
  });

  it('forwards fills the bucket once and no more', () => {
    const clock = new FakeClock();
    const guard = new PaceGuard({ tenthsOfMs: even(), factor: 1, window: 8, clock });
    guard.consume(8);
    clock.seconds += 1e6;
    expect(() => guard.consume(8 + 14)).toThrow(/faster/);
  });
});

describe('the window', () => {
  const even = (count: number, seconds: number) => new Array<number>(count).fill(seconds * 10_000);

  it('is between 4 and 64 segments, at most an eighth of a long design', () => {
    expect(windowFor(even(1_000, 5), 1)).toBe(10);
    expect(windowFor(even(1_000, 100), 1)).toBe(4);
    expect(windowFor(even(3_000, 0.01), 1)).toBe(64);
    expect(windowFor(even(80, 1), 1_000)).toBe(10);
    expect(windowFor(even(3, 1), 1_000)).toBe(4);
    expect(windowFor(even(100, 0), 1)).toBe(13);
  });

  it('depends on the densest part of a design, not the mean; comments at its head do not enlarge it', () => {
    const half = [...even(500, 1), ...even(500, 20)];
    expect(windowFor(half, 1)).toBe(windowFor(even(1_000, 1), 1));
    expect(windowFor([...even(10, 0), ...even(990, 8)], 1)).toBe(windowFor(even(1_000, 8), 1));
  });

  it('holds 30 s of motion and the time of a reconnection, wherever the link breaks', () => {
    const design = fc.array(fc.integer({ min: 0, max: 400_000 }), { minLength: 1, maxLength: 600 });
    fc.assert(
      fc.property(design, fc.constantFrom(1, 10, 300), (times, factor) => {
        const window = windowFor(times, factor);
        const most = Math.max(4, Math.min(64, Math.ceil(times.length / 8)));
        expect(window).toBeLessThanOrEqual(most);
        if (window === most) return; // limited by the design
        // Keys node: the next slice is sent when a whole step of it fits (keys/stream.ts).
        const step = sliceStep(window);
        for (const [at, time] of times.entries()) {
          if (time === 0) continue;
          const got = at + window - step + 1;
          if (got >= times.length) break;
          const ahead = times.slice(at + 1, got).reduce((sum, one) => sum + one, 0);
          expect(ahead / 10_000 / factor).toBeGreaterThanOrEqual(36);
        }
      }),
    );
  });
});
