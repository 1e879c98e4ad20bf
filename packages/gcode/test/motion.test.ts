import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { desktopLimits, type MotionLimits, plannedMoves, trapezoidSeconds } from '../src/index.ts';
import { execute } from './helpers.ts';

// Round numbers: 1000 mm/s² everywhere, and no jerk unless a test sets it.
const plain: MotionLimits = {
  ...desktopLimits,
  maxFeed: [500, 500, 500, 500],
  maxAcceleration: [1000, 1000, 1000, 1000],
  acceleration: { print: 1000, travel: 1000, retract: 1000 },
  jerk: [0, 0, 0, 0],
};

function seconds(text: string, limits: MotionLimits = plain): number {
  return execute(text, { limits }).execution.seconds;
}

describe('the motion model', () => {
  it('computes the time of a trapezoid', () => {
    // 100 mm/s after 0.1 s and 5 mm, 90 mm at 100 mm/s, 0.1 s to rest.
    expect(seconds('G1 X100 F6000')).toBeCloseTo(0.1 + 0.9 + 0.1, 12);
    // 4 mm are too short for 100 mm/s: a triangle of 2 √(4 / 1000) s.
    expect(seconds('G1 X4 F6000')).toBeCloseTo(2 * Math.sqrt(0.004), 12);
    // From 20 to 60 mm/s, at most 100 mm/s: up 4.8 mm, down 3.2 mm, 2 mm at full speed.
    expect(trapezoidSeconds(10, 20, 60, 100, 1000)).toBeCloseTo(0.08 + 0.04 + 0.02, 12);
  });

  it('does not stop between collinear moves', () => {
    expect(seconds('G1 X50 F6000\nG1 X100')).toBeCloseTo(1.1, 12);
    const many = Array.from({ length: 400 }, (_, n) => `G1 X${(n + 1) / 4} F6000`).join('\n');
    expect(seconds(many)).toBeCloseTo(1.1, 9);
  });

  it('stops at a corner without jerk, and passes it at the jerk of the axis that changes most', () => {
    expect(seconds('G1 X50 F6000\nG1 Y50')).toBeCloseTo(2 * (0.1 + 0.4 + 0.1), 12);
    const jerky: MotionLimits = { ...plain, jerk: [10, 10, 10, 10] };
    // Each side starts and ends at 10 mm/s: (100 - 10) / 1000 s and 4.95 mm each way, 40.1 mm at 100 mm/s.
    expect(seconds('G1 X50 F6000\nG1 Y50', jerky)).toBeCloseTo(2 * (0.09 + 0.401 + 0.09), 12);
  });

  it('takes a corner at the speed that the jerk allows', () => {
    // A corner of 60°: the unit vectors differ by 0.5 and 0.866. A jerk of 8 mm/s allows 8 / 0.866 mm/s.
    const jerky: MotionLimits = { ...plain, jerk: [8, 8, 8, 8] };
    const turn = 8 / (Math.sqrt(3) / 2);
    const one = trapezoidSeconds(50, 8, turn, 100, 1000);
    // The second side starts and ends along both axes at 8 / 0.866 mm/s.
    const two = trapezoidSeconds(50, turn, turn, 100, 1000);
    expect(seconds(`G1 X50 F6000\nG1 X75 Y${25 * Math.sqrt(3)}`, jerky)).toBeCloseTo(one + two, 9);
  });

  it('keeps every axis within its maximum speed and acceleration', () => {
    const slow: MotionLimits = { ...plain, maxFeed: [500, 500, 10, 500], maxAcceleration: [1000, 1000, 100, 1000] };
    expect(seconds('G1 Z10 F6000', slow)).toBeCloseTo(0.1 + 0.9 + 0.1, 12);
    // 45° in XZ: 10 √2 mm/s and 100 √2 mm/s² along the path of 10 √2 mm, so the time is the same.
    expect(seconds('G1 X10 Z10 F6000', slow)).toBeCloseTo(1.1, 12);
  });

  it('uses the acceleration of the kind of move', () => {
    const kinds: MotionLimits = { ...plain, acceleration: { print: 250, travel: 1000, retract: 500 } };
    const rest = (acceleration: number) => 100 / acceleration + 1;
    expect(seconds('G1 X100 F6000', kinds)).toBeCloseTo(rest(1000), 12);
    expect(seconds('M83\nG1 X100 E1 F6000', kinds)).toBeCloseTo(rest(250), 12);
    expect(seconds('M83\nG1 E-100 F6000', kinds)).toBeCloseTo(rest(500), 12);
    expect(seconds('M204 P400 T200\nG1 X100 F6000', kinds)).toBeCloseTo(rest(200), 12);
    expect(seconds('M203 X50\nG1 X100 F6000')).toBeCloseTo(50 / 1000 + 2, 12);
    expect(seconds('M220 S50\nG1 X100 F6000')).toBeCloseTo(50 / 1000 + 2, 12);
  });

  it('never plans a speed from which it cannot stop', () => {
    const moves = fc.array(
      fc.record({
        x: fc.integer({ min: 0, max: 200 }),
        y: fc.integer({ min: 0, max: 200 }),
        e: fc.integer({ min: -2, max: 5 }),
        f: fc.integer({ min: 60, max: 12_000 }),
      }),
      { minLength: 1, maxLength: 120 },
    );
    fc.assert(
      fc.property(moves, (list) => {
        const text = `M83\n${list.map((m) => `G1 X${m.x} Y${m.y} E${m.e} F${m.f}`).join('\n')}`;
        const { pieces } = execute(text);
        let x = 0;
        let y = 0;
        for (const piece of pieces) {
          const length = Math.hypot(piece.x - x, piece.y - y);
          // No piece is faster than its axes allow, and each takes time.
          expect(length / piece.seconds).toBeLessThanOrEqual(Math.hypot(200, 200) + 1e-6);
          expect(piece.seconds).toBeGreaterThan(0);
          x = piece.x;
          y = piece.y;
        }
      }),
      { numRuns: 200 },
    );
  });

  it('saves time by not stopping, and never loses any', () => {
    const moves = fc.array(
      fc.record({ x: fc.integer({ min: 0, max: 100 }), f: fc.integer({ min: 60, max: 12_000 }) }),
      {
        minLength: 2,
        maxLength: 100,
      },
    );
    let gained = 0;
    fc.assert(
      fc.property(moves, (list) => {
        const text = list.map((m) => `G1 X${m.x} F${m.f}`).join('\n');
        const stopping = seconds(text.replaceAll('\n', '\nM400\n'));
        expect(seconds(text)).toBeLessThanOrEqual(stopping + 1e-9);
        if (seconds(text) < stopping - 1e-6) gained += 1;
      }),
      { numRuns: 100 },
    );
    expect(gained).toBeGreaterThan(50);
  });

  it('looks ahead over its queue and no further', () => {
    const limits: MotionLimits = { ...plain, maxAcceleration: [100, 100, 100, 100] };
    const line = (count: number) => Array.from({ length: count }, (_, n) => `G1 X${(n + 1) / 10} F60000`).join('\n');
    // The moves are so short that 32 of them limit the speed: √(2 · 100 · 3.2) mm/s.
    const { pieces } = execute(line(2000), { limits });
    const fastest = Math.max(...pieces.map((piece) => 0.1 / piece.seconds));
    expect(fastest).toBeLessThanOrEqual(Math.sqrt(2 * 100 * 0.1 * plannedMoves) + 1e-6);
    expect(fastest).toBeGreaterThan(0.95 * Math.sqrt(2 * 100 * 0.1 * (plannedMoves - 1)));
  });

  it('waits for dwells, homing and heating by fixed rules', () => {
    expect(seconds('G4 P1500')).toBe(1.5);
    expect(seconds('G4 S2 P9')).toBe(2);
    expect(seconds('G28')).toBe(24);
    expect(seconds('G28 X Z')).toBe(18);
    expect(seconds('M109 S72')).toBeCloseTo(50 / 2.5, 12);
    expect(seconds('M190 S52')).toBeCloseTo(30 / 0.6, 12);
    // A heater set earlier has warmed up meanwhile.
    expect(seconds('M104 S72\nG4 S5\nM109 S72')).toBeCloseTo(20, 12);
    // S does not wait for cooling, R does. Switching off never waits.
    expect(seconds('M109 S72\nM109 S62')).toBeCloseTo(20, 12);
    expect(seconds('M109 S72\nM109 R64')).toBeCloseTo(20 + 8 / 0.8, 12);
    expect(seconds('M109 S72\nM109 S0')).toBeCloseTo(20, 12);
  });

  it('executes pending moves when many comments follow', () => {
    const { spent } = execute(`G1 X10 F600\nG1 X20\n${'; nothing\n'.repeat(2000)}G1 X30\n`);
    const stopped = execute('G1 X10 F600\nG1 X20\nM400\nG1 X30\n');
    expect(spent.map((s) => s.seconds)).toEqual(stopped.spent.map((s) => s.seconds));
  });
});
