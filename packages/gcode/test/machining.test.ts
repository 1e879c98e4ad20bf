import { describe, expect, it } from 'vitest';
import { codedError, execute } from './helpers.ts';

const path = (text: string) => execute(text).pieces.map(({ x, y, z }) => [x, y, z]);

/** A program as CAM software writes it for Mach3, shortened. */
const mach3 = `%
F140
(2D contour, tool T1 D=6)
G90 G94 G17 G91.1
G21
G53 G0 Z0.
T1 M6
S5000 M3
G54
M8
G0 X10. Y0. ; approach
G43 Z15. H1
G0 Z5.
G1 Z-1. F333.3
X20.
Y10. F400.
X10. Y0.
G2 X10. Y0. I5. J0.
G0 Z15.
M9
G98 G81 X5. Y5. Z-3. R2. F100.
X15.
G80
M5
M30
%
`;

describe('programs of mills', () => {
  it('begin with a feed rate alone', () => {
    expect(path('F140\nG1 X10\n')).toEqual([[10, 0, 0]]);
    expect(execute('F60\nG1 X10').execution.seconds).toBeCloseTo(execute('G1 X10 F60').execution.seconds, 12);
    expect(path('S1000\nT2\nG0 X1')).toEqual([[1, 0, 0]]);
  });

  it('are executed as CAM software writes them', () => {
    const { execution, pieces } = execute(mach3);
    expect(pieces.slice(0, 6).map(({ x, y, z }) => [x, y, z])).toEqual([
      [10, 0, 0],
      [10, 0, 15],
      [10, 0, 5],
      [10, 0, -1],
      [20, 0, -1],
      [20, 10, -1],
    ]);
    // Two holes, and back to where Z was.
    expect(pieces.slice(-6).map(({ x, y, z }) => [x, y, z])).toEqual([
      [5, 5, -3],
      [5, 5, 15],
      [15, 5, 15],
      [15, 5, 2],
      [15, 5, -3],
      [15, 5, 15],
    ]);
    expect(execution.interpreter.tool).toBe(1);
    expect(execution.executedBytes).toBe(mach3.length);
    // G91.1: arcs with relative centres, as always.
    expect(execution.interpreter.unknown).toBe(1);
  });

  it('say for how long the spindle was on', () => {
    const cut = execute('M3 S5000\nG1 X100 F600\nG4 P1000\nG0 X0\nM5\n').execution;
    expect(cut.spindleSeconds).toBe(cut.seconds);
    expect(execute('G1 X100 F600\nG0 X0\n').execution.spindleSeconds).toBe(0);
    const half = execute(`${'G4 P1000\n'.repeat(60)}M3\n${'G4 P1000\n'.repeat(60)}M5\n`).execution;
    expect(half.spindleSeconds).toBeCloseTo(half.seconds / 2, 6);
    // Moves that are still queued when it is switched count as they were given.
    const moves = (count: number) => Array.from({ length: count }, (_, at) => `G1 X${at % 2} F60\n`).join('');
    const mixed = execute(`${moves(5)}M4 S1\n${moves(7)}M5\n${moves(3)}`).execution;
    expect(mixed.spindleSeconds).toBeGreaterThan(0.4 * mixed.seconds);
    expect(mixed.spindleSeconds).toBeLessThan(0.55 * mixed.seconds);
  });

  it('repeat the motion in force, in lines without a code', () => {
    expect(path('G1 X1 F600\nY2\nX3 Y4\nG0\nZ5\nG90 X6\nM8 Y7\nG91\nX1')).toEqual([
      [1, 0, 0],
      [1, 2, 0],
      [3, 4, 0],
      [3, 4, 5],
      [6, 4, 5],
      [6, 7, 5],
      [7, 7, 5],
    ]);
    expect(execute('G2 X10 I5 F600\nX0 I-5').execution.x).toBeCloseTo(0, 9);
  });

  it('have several codes in a line', () => {
    expect(path('G90 G54 G17 G0 X1 Y2 S1000 M3')).toEqual([[1, 2, 0]]);
    expect(path('M3 S1000 G0 X1')).toEqual([[1, 0, 0]]);
    expect(path('M6 T1 G0 X1')).toEqual([[1, 0, 0]]);
    expect(path('G0 G91 X1\nG0 G91 X1 M8')).toEqual([
      [1, 0, 0],
      [2, 0, 0],
    ]);
  });

  it('move in machine coordinates for one line', () => {
    expect(path('G1 X10 F600\nG92 X0\nG53 G0 X3\nX3\nG91 G53 X4\nX1')).toEqual([
      [10, 0, 0],
      [3, 0, 0],
      [13, 0, 0],
      [4, 0, 0],
      [5, 0, 0],
    ]);
  });

  it('drill: back to R, or to where Z was', () => {
    expect(path('G0 Z10\nG99 G81 X1 Z-1 R2 F100\nX2\nG98 X3\nG80\nG0 Z20')).toEqual([
      [0, 0, 10],
      [1, 0, 10],
      [1, 0, 2],
      [1, 0, -1],
      [1, 0, 2],
      [2, 0, 2],
      [2, 0, -1],
      [2, 0, 2],
      [3, 0, 2],
      [3, 0, -1],
      [3, 0, 10],
      [3, 0, 20],
    ]);
  });

  it('drill relatively, and several times', () => {
    expect(path('G0 X5 Z3\nG91 G99 G81 X2 Z-2 R-1 L2 F100').slice(1)).toEqual([
      [7, 0, 3],
      [7, 0, 2],
      [7, 0, 0],
      [7, 0, 2],
      [9, 0, 2],
      [9, 0, 0],
      [9, 0, 2],
    ]);
  });

  it('drill in inches, with offsets', () => {
    expect(path('G20\nG0 Z1\nG92 X-1\nG81 X0 Z-.1 R.1 F5').at(3)).toEqual([25.4, 0, -2.54]);
  });

  it('peck, dwell and tap', () => {
    const depths = (text: string) => path(`G0 Z5\n${text}`).map(([, , z]) => z);
    expect(depths('G83 Z-2 R1 Q1 F100')).toEqual([5, 1, 0, 1, 0.25, -1, 1, -0.75, -2, 5]);
    expect(depths('G73 Z-1 R1 Q1 F100')).toEqual([5, 1, 0, 0.25, -1, 5]);
    const at = (text: string) => execute(`G0 Z5\n${text}`).execution.seconds;
    expect(at('G82 Z-1 R1 P3 F100') - at('G81 Z-1 R1 F100')).toBeCloseTo(3, 9);
    expect(at('G84 Z-9 R1 F10')).toBeGreaterThan(1.9 * at('G81 Z-9 R1 F10'));
  });

  it.each([
    'X10 Y10',
    'G28\nX10',
    'G1 X1\nG80\nX2',
    'G1 X1 G1 X2',
    'G1 X1 G91',
    'G0 X1 M3 G91',
    'G0\nM3 X1 G91',
    'M3 F100 G20',
    'G1 X1 M104 S200',
    'M104 S200 G1 X1',
    'G81 X1 R2 F100',
    'G81 X1 Z3 R2 F100',
    'G83 X1 Z-3 R2 F100',
    'G83 X1 Z-3 R2 Q.00001 F100',
    'G87 X1 Z-3 R2 F100',
    'G18 G81 X1 Z-3 R2',
    'G81 X1 Z-3 R2 L1000000',
    'G82 X1 Z-3 R2 P999999',
    'G93',
    'G1 F1\nX1 Y',
  ])('are refused: %s', (text) => {
    expect(codedError(() => execute(text))).toMatchObject({ code: 'E_GCODE', line: text.split('\n').length });
  });
});
