import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { arcTolerance } from '../src/index.ts';
import { codedError, execute } from './helpers.ts';

function ends(text: string): [number, number, number][] {
  return execute(text).pieces.map(({ x, y, z }) => [x, y, z]);
}

function last(text: string): [number, number, number] {
  const { execution } = execute(text);
  return [execution.x, execution.y, execution.z];
}

describe('the interpreter', () => {
  it('moves in absolute and relative coordinates', () => {
    expect(ends('G1 X10 Y5 F600\nG91\nG1 X1 Z2\nG1 Y-3\nG90\nG1 X0')).toEqual([
      [10, 5, 0],
      [11, 5, 2],
      [11, 2, 2],
      [0, 2, 2],
    ]);
  });

  it('accepts inches, also for feed rates', () => {
    expect(last('G20\nG1 X1 Y2 F100')).toEqual([25.4, 50.8, 0]);
    expect(last('G20\nG1 X1\nG21\nG1 Y1')).toEqual([25.4, 1, 0]);
    const inches = execute('G20\nG1 X10 F10').execution.seconds;
    expect(inches).toBeCloseTo(execute('G1 X254 F254').execution.seconds, 9);
  });

  it('shifts its coordinates with G92 without moving', () => {
    expect(last('G1 X10 Y10 F600\nG92 X0\nG1 X5 Y5')).toEqual([15, 5, 0]);
    expect(last('G1 X10 Y10 F600\nG92\nG1 X5 Y5')).toEqual([15, 15, 0]);
    expect(last('G1 X10 F600\nG92 X0\nG28 X\nG1 X5')).toEqual([5, 0, 0]);
  });

  it('counts filament once, in absolute, relative and reset coordinates', () => {
    const mm = (text: string) => execute(text).execution.filament;
    expect(mm('M82\nG1 X1 E1 F600\nG1 X2 E3\nG92 E0\nG1 X3 E1')).toBeCloseTo(4, 12);
    expect(mm('M83\nG1 X1 E1 F600\nG1 E-.8\nG1 X5\nG1 E.8\nG1 X6 E1')).toBeCloseTo(2, 12);
    expect(mm('M83\nM221 S50\nG1 X1 E4 F600')).toBeCloseTo(2, 12);
    expect(mm('M82\nM221 S50\nG1 X1 E4 F600\nM221 S100\nG1 X2 E5')).toBeCloseTo(3, 12);
    expect(mm('M83\nG1 X1 E4 F600\nG10\nG10\nG1 X5\nG11\nG11\nG1 X6 E1')).toBeCloseTo(5, 12);
    // G91 does not change the filament's mode.
    expect(mm('M82\nG91\nG1 X1 E1 F600\nG1 X1 E2')).toBeCloseTo(2, 12);
  });

  it('counts a layer when material is extruded at a new height', () => {
    const text =
      'M83\nG1 Z.2 F600\nG1 X1 E1\nG1 Z.6\nG1 X5\nG1 Z.2\nG1 X6 E1\nG1 Z.4\nG1 X7 E1\nG1 Z.42\nG1 X8 E1\nG1 Z.2\nG1 X9 E1';
    expect(
      execute(text)
        .pieces.filter((p) => p.extruding)
        .map((p) => p.layer),
    ).toEqual([1, 1, 2, 2, 3]);
  });

  it('tracks temperatures and fan, within the limits of the heaters', () => {
    const { interpreter } = execute('M104 S210\nM140 S999\nM106 S127.5\n').execution;
    expect([interpreter.hotend.target, interpreter.bed.target, interpreter.fan]).toEqual([210, 120, 0.5]);
    expect(interpreter.hotend.temperature(2)).toBeCloseTo(27, 12);
    expect(interpreter.hotend.temperature(1e6)).toBe(210);
  });

  it('counts unknown commands', () => {
    expect(execute('G1 X1 F600\nM999\nG29\nFOO\nM73 P1\nM117 x\n').execution.interpreter.unknown).toBe(3);
  });

  it('rejects commands that would make a different part', () => {
    for (const text of [
      'G1 X',
      'G2 X5',
      'G2 X5 I0 J0',
      'G2 X9 I1',
      'G2 X5 R1',
      'G2 X0 Y0 R5',
      'G18\nG2 X5 R5',
      'G1 X9999999',
      'G4 S99999999',
    ]) {
      expect(
        codedError(() => execute(text)),
        text,
      ).toMatchObject({ code: 'E_GCODE', line: text.split('\n').length });
    }
  });
});

describe('arcs', () => {
  it('follow the circle to their end point', () => {
    const point = fc.record({
      x: fc.integer({ min: -50, max: 50 }),
      y: fc.integer({ min: -50, max: 50 }),
      radius: fc.integer({ min: 1, max: 80 }),
      from: fc.integer({ min: 0, max: 359 }),
      sweep: fc.integer({ min: 1, max: 359 }),
      clockwise: fc.boolean(),
      byRadius: fc.boolean(),
    });
    fc.assert(
      fc.property(point, ({ x, y, radius, from, sweep, clockwise, byRadius }) => {
        const signed = clockwise ? -sweep : sweep;
        const at = (degrees: number): [number, number] => {
          const angle = (degrees / 180) * Math.PI;
          return [x + radius * Math.cos(angle), y + radius * Math.sin(angle)];
        };
        const [sx, sy] = at(from);
        const [ex, ey] = at(from + signed);
        const n = (value: number) => value.toFixed(9);
        const middle = byRadius ? `R${sweep > 180 ? -radius : radius}` : `I${n(x - sx)} J${n(y - sy)}`;
        // For half circles by radius, rounding decides the side of the centre, so the file would be ambiguous.
        fc.pre(!byRadius || Math.abs(sweep - 180) > 1);
        const text = `M83\nG0 X${n(sx)} Y${n(sy)} F6000\n${clockwise ? 'G2' : 'G3'} X${n(ex)} Y${n(ey)} Z4 E8 ${middle}\n`;
        const { pieces, execution } = execute(text);
        const arc = pieces.filter((p) => p.extruding);
        let length = 0;
        let [px, py] = [sx, sy];
        for (const piece of arc) {
          expect(Math.hypot(piece.x - x, piece.y - y)).toBeCloseTo(radius, 5);
          // The midpoint of a chord is inside the circle by at most the tolerance.
          const inside = radius - Math.hypot((piece.x + px) / 2 - x, (piece.y + py) / 2 - y);
          expect(inside).toBeLessThanOrEqual(arcTolerance + 1e-6);
          length += Math.hypot(piece.x - px, piece.y - py);
          [px, py] = [piece.x, piece.y];
        }
        const exact = (radius * sweep * Math.PI) / 180;
        expect(length).toBeLessThanOrEqual(exact + 1e-5);
        expect(length).toBeGreaterThan(exact * 0.99);
        expect(px).toBeCloseTo(ex, 6);
        expect(py).toBeCloseTo(ey, 6);
        expect(execution.z).toBe(4);
        expect(execution.filament).toBeCloseTo(8, 9);
      }),
      { numRuns: 300 },
    );
  });

  it('are full circles when they end where they start, with constant slope', () => {
    const { pieces } = execute('G0 X10 Y0 F6000\nG3 X10 Y0 Z5 I-10 J0\n');
    const arc = pieces.slice(1);
    const quarter = arc[Math.round(arc.length / 4) - 1];
    expect(quarter?.x).toBeCloseTo(0, 0);
    expect(quarter?.y).toBeCloseTo(10, 0);
    expect(quarter?.z).toBeCloseTo(1.25, 1);
    expect(arc.at(-1)).toMatchObject({ x: 10, y: 0, z: 5 });
  });
});
