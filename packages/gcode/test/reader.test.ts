import { utf8 } from '@millrace/base';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LineReader, maxLineBytes } from '../src/index.ts';
import { codedError, execute } from './helpers.ts';

interface Command {
  letter: string;
  code: number;
  words: Record<string, number | null>;
  line: number;
}

function read(text: string, cuts: readonly number[] = []): Command[] {
  const reader = new LineReader();
  const bytes = utf8(text);
  const out: Command[] = [];
  const take = () => {
    if (reader.letter === 0) return;
    const words: Record<string, number | null> = {};
    for (let n = 0; n < 26; n += 1) {
      const name = String.fromCharCode(65 + n);
      if ((reader.given >> n) & 1) words[name] = reader.values[n] ?? Number.NaN;
      else if ((reader.flags >> n) & 1) words[name] = null;
    }
    out.push({ letter: String.fromCharCode(reader.letter), code: reader.code, words, line: reader.line });
  };
  let from = 0;
  for (const cut of [...cuts, bytes.length]) {
    const chunk = bytes.subarray(from, Math.max(cut, from));
    from = Math.max(cut, from);
    for (let at = 0; at < chunk.length; ) {
      at = reader.next(chunk, at);
      if (reader.complete) take();
    }
  }
  if (reader.finish()) take();
  return out;
}

function first(text: string): Command {
  const [command] = read(text);
  if (command === undefined) throw new Error('no command');
  return command;
}

describe('the reader', () => {
  it('reads words in any case, spacing and order', () => {
    const expected = { letter: 'G', code: 1, words: { X: 10.5, Y: -2, E: 0.25, F: 1200 }, line: 1 };
    for (const text of [
      'G1 X10.5 Y-2 E.25 F1200',
      'g1x10.5y-2e.25f1200\r\n',
      '  G 1 F1200 E+0.25\tX 10.50 Y-2.',
      'G01 X10.5 Y-2 E.25 F1200 ; x',
    ]) {
      expect(first(text)).toEqual(expected);
    }
  });

  it('skips comments, empty lines and program marks, and counts their lines', () => {
    const text = '%\n\n; G1 X1\n(G1 X2) G1 (X3) X4 ; X5\n   \r\nG28 X Y\n%';
    expect(read(text)).toEqual([
      { letter: 'G', code: 1, words: { X: 4 }, line: 4 },
      { letter: 'G', code: 28, words: { X: null, Y: null }, line: 6 },
    ]);
  });

  it('reads several modal commands on one line', () => {
    expect(read('G21 G90 G1 X1\nM83 G91').map(({ letter, code, line }) => `${letter}${code}@${line}`)).toEqual([
      'G21@1',
      'G90@1',
      'G1@1',
      'M83@2',
      'G91@2',
    ]);
  });

  it('parses numbers exactly like JavaScript', () => {
    const number = fc.tuple(
      fc.constantFrom('', '-', '+'),
      fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 0, maxLength: 25 }).map((d) => d.join('')),
      fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 1, maxLength: 25 }).map((d) => d.join('')),
    );
    fc.assert(
      fc.property(number, ([sign, whole, fraction]) => {
        const text = `${sign}${whole}.${fraction}`;
        expect(first(`G1 X${text}`).words.X).toBe(Number(text));
      }),
      { numRuns: 2000 },
    );
  });

  it('verifies checksums and accepts line numbers', () => {
    const body = 'N12 G1 X10 Y20 ';
    let sum = 0;
    for (const c of utf8(body)) sum ^= c;
    expect(first(`${body}*${sum} ; after`).words).toEqual({ X: 10, Y: 20 });
    expect(first(`${body}*${sum}\r\n`).words).toEqual({ X: 10, Y: 20 });
    for (const wrong of [`${body}*${sum ^ 1}`, `${body}*`, `${body}*x`, `${body}*${sum} 3`]) {
      expect(codedError(() => read(wrong))).toMatchObject({ code: 'E_GCODE', line: 1 });
    }
  });

  it('skips unknown commands with their text', () => {
    const text = 'M117 Layer 3: 100% "done"\nSTART_PRINT BED=60\nM862.3 P "MK3S"\nT?\nD5\nG1 X1\n';
    expect(read(text).map(({ letter, line }) => letter + line)).toEqual(['M1', 'S2', 'M3', 'T4', 'D5', 'G6']);
  });

  it('rejects malformed lines; the error has the line number but not the content', () => {
    const wrong = [
      'X10 Y10',
      'G1 X-',
      'G1 X.',
      'G1 X1.2.3',
      'G1 X1-2',
      'G1 7',
      'G',
      'G1 X1 G1 X2',
      'G1 (open',
      '$H',
      'G1 Xé',
      'M106 "S',
    ];
    for (const line of wrong) {
      const error = codedError(() => read(`G28\n; c\n${line}\nG1 X1\n`));
      expect(error, line).toMatchObject({ code: 'E_GCODE', line: 3 });
      expect(error?.message).toMatch(/^line 3: [a-z ]+$/i);
    }
  });

  it('limits the code of a line, not its comment', () => {
    expect(first(`G1 X1 ;${'c'.repeat(1_000_000)}`).words).toEqual({ X: 1 });
    expect(codedError(() => read(`G1 X1${' '.repeat(maxLineBytes)}\n`))).toMatchObject({ code: 'E_GCODE', line: 1 });
  });

  const pieces = fc.constantFrom(
    'G1 X10 Y2.5 E.3\n',
    'g0z5f300\n',
    '; comment\n',
    'N3 G1 X1*12\n',
    'G2 X5 I2 J1\n',
    'G90 G1 X5\n',
    'M104 S200\n',
    'M117 hi\n',
    '\r\n',
    'G4 P10\n',
    'G28 X\n',
    'M83\n',
    '(c)G1Y1\n',
    'G3 X1 R9\n',
    'T1\n',
    'G92 E0\n',
    'M109 S210\n',
    'G1 F0 X1e5\n',
    'G1 X1..2\n',
    'G20\n',
    '%\n',
    'FOO B=1\n',
    'F140\n',
    'X5 Y1\n',
    'G98 G81 X1 Z-1 R1\n',
    'G53 G0 Z0 M8\n',
    'S100 M3 G0 X1\n',
    'G80\n',
  );

  it('gives the same result wherever the bytes are split', () => {
    fc.assert(
      fc.property(
        fc.array(pieces, { maxLength: 60 }),
        fc.array(fc.nat(1200), { maxLength: 20 }),
        fc.nat(300),
        fc.integer({ min: 0, max: 255 }),
        fc.boolean(),
        (lines, cuts, place, value, mutate) => {
          const bytes = utf8(lines.join(''));
          if (mutate && place < bytes.length) bytes[place] = value;
          const outcome = (at: readonly number[]) => {
            let result: unknown;
            const error = codedError(() => {
              const { execution, pieces: path, spent } = execute(bytes, { cuts: at });
              result = {
                path,
                spent,
                seconds: execution.seconds,
                lines: execution.lines,
                bytes: execution.executedBytes,
              };
            });
            return error === undefined ? result : { code: error.code, line: error.line };
          };
          const whole = outcome([]);
          expect(outcome([...cuts].sort((a, b) => a - b))).toEqual(whole);
          expect(outcome(Array.from(bytes, (_, n) => n))).toEqual(whole);
        },
      ),
      { numRuns: 300 },
    );
  });

  it('returns finite times or a coded error for any bytes', () => {
    let passed = 0;
    const check = (bytes: Uint8Array) => {
      codedError(() => {
        const { execution, pieces: path } = execute(bytes);
        expect(Number.isFinite(execution.seconds)).toBe(true);
        expect(execution.executedBytes).toBe(bytes.length);
        for (const piece of path) expect(Number.isFinite(piece.x + piece.y + piece.z + piece.seconds)).toBe(true);
        passed += 1;
      });
    };
    fc.assert(fc.property(fc.uint8Array({ maxLength: 400 }), check), { numRuns: 500 });
    const alphabet = fc.constantFrom(...'GMXYZEFIJRSPT0123456789.-+ \n;()*N'.split(''));
    fc.assert(
      fc.property(
        fc.array(alphabet, { maxLength: 200 }).map((c) => utf8(c.join(''))),
        check,
      ),
      { numRuns: 2000 },
    );
    const words = fc.array(
      fc.tuple(
        fc.constantFrom(
          'G1',
          'G0',
          'G2',
          'G3',
          'G4',
          'G28',
          'G92',
          'M201',
          'M203',
          'M204',
          'M205',
          'M220',
          'M221',
          'M109',
          'M190',
          'G20',
          'G91',
          'M83',
        ),
        fc.array(
          fc.tuple(
            fc.constantFrom(...'XYZEFIJRSPT'.split('')),
            fc.oneof(
              fc.integer({ min: -300, max: 300 }),
              fc.constantFrom('0', '.0000001', '99999999999', '-1', `1${'0'.repeat(320)}`),
            ),
          ),
          { maxLength: 4 },
        ),
      ),
      { maxLength: 30 },
    );
    fc.assert(
      fc.property(words, (lines) =>
        check(utf8(lines.map(([code, list]) => `${code} ${list.map(([l, v]) => l + v).join(' ')}`).join('\n'))),
      ),
      { numRuns: 2000 },
    );
    // The test would be meaningless if all inputs were rejected.
    expect(passed).toBeGreaterThan(500);
  });
});
