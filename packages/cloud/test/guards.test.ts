import { describe, expect, it } from 'vitest';
import { Guards } from '../src/streaming/guards.ts';
import { PaceGuard } from '../src/streaming/pace.ts';

const MINUTE = 60_000;
let now = 0;
const clock = { now: () => now, monotonic: () => now };
/** A guard of a design whose segments take `seconds` each. */
const guardOf =
  (seconds = 1) =>
  () =>
    new PaceGuard({ tenthsOfMs: new Array<number>(20).fill(seconds * 10_000), factor: 1, window: 5, clock });

describe('pace guards', () => {
  it('are reused by a resumed stream', () => {
    const guards = new Guards(clock);
    const guard = guards.enter('a', guardOf());
    guard.consume(3);
    guards.leave('a');
    now += 10 * MINUTE;
    expect(guards.enter('a', guardOf())).toBe(guard);
    expect(guards.acked('a')).toBe(3);
  });

  it('of abandoned objects are dropped once their buckets are full', () => {
    const guards = new Guards(clock);
    for (let object = 0; object < 1_000; object++) {
      guards.enter(`object ${object}`, guardOf());
      guards.leave(`object ${object}`);
    }
    now += 16 * MINUTE;
    guards.enter('another', guardOf());
    expect(guards.size).toBe(1);
  });

  it('are kept while their buckets fill, and while a stream runs', () => {
    const guards = new Guards(clock);
    const slow = guards.enter('slow', guardOf(3_600));
    slow.consume(5);
    guards.leave('slow');
    const running = guards.enter('running', guardOf());
    now += 60 * MINUTE;
    expect(guards.enter('slow', guardOf(3_600))).toBe(slow);
    now += 24 * 60 * MINUTE;
    expect(guards.enter('running', guardOf())).toBe(running);
  });

  it('are limited in number; the one left first is dropped first', () => {
    const guards = new Guards(clock);
    const open = (object: string) => {
      guards.enter(object, guardOf());
      guards.leave(object);
    };
    const running = guards.enter('running', guardOf());
    for (let object = 0; object < 10_100; object++) open(`object ${object}`);
    expect(guards.size).toBeLessThanOrEqual(10_001);
    const known = guards.enter('object 10099', () => {
      throw new Error('it was forgotten');
    });
    expect(known.acked).toBe(0);
    expect(() =>
      guards.enter('object 0', () => {
        throw new Error('it was forgotten');
      }),
    ).toThrow('forgotten');
    expect(guards.enter('running', guardOf())).toBe(running);
  });

  it('count how often a segment was missing, across sessions', () => {
    const guards = new Guards(clock);
    guards.enter('a', guardOf());
    expect(guards.missed('a', 4)).toBe(1);
    guards.leave('a');
    guards.enter('a', guardOf());
    expect(guards.missed('a', 4)).toBe(2);
    expect(guards.missed('a', 5)).toBe(1);
    guards.drop('a');
    expect(guards.size).toBe(0);
  });
});
