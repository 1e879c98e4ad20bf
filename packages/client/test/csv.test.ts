import fc from 'fast-check';
import { expect, it } from 'vitest';
import { type CsvCell, formatCsv } from '../src/csv.ts';

/** Reads CSV as RFC 4180 defines it. */
function readCsv(text: string): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  for (const [, quoted, bare = '', end] of text.matchAll(/(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n)/g)) {
    row.push(quoted?.replaceAll('""', '"') ?? bare);
    if (end === ',') continue;
    rows.push(row);
    row = [];
  }
  return rows;
}

it('CSV has quotes where RFC 4180 needs them', () => {
  expect(formatCsv([['plain', 'a,b', 'say "a"', 'two\r\nlines', '', undefined, -5]])).toBe(
    'plain,"a,b","say ""a""","two\r\nlines",,,-5\r\n',
  );
});

it('CSV of any text can be read again, and no cell of text begins a formula', () => {
  const hostile = fc.constantFrom(
    '=1+1',
    '+1',
    '-1',
    '@SUM(A1)',
    '\t=1',
    '\r=1',
    ' =1',
    '＝1',
    '="x",y',
    '=cmd|"/C calc"!A0',
  );
  const cell = fc.oneof(hostile, fc.string({ unit: 'binary' }), fc.integer());
  fc.assert(
    fc.property(fc.array(fc.array(cell, { minLength: 1, maxLength: 4 }), { maxLength: 4 }), (rows: CsvCell[][]) => {
      const read = readCsv(formatCsv(rows));
      expect(read).toHaveLength(rows.length);
      for (const [r, row] of rows.entries())
        for (const [c, given] of row.entries()) {
          const shown = read[r]?.[c] ?? 'missing';
          if (typeof given === 'number') expect(shown).toBe(String(given));
          else {
            expect(shown).not.toMatch(/^\s*[=+\-@\t\r\n＝＋－＠]/);
            expect([given, `'${given}`]).toContain(shown);
          }
        }
    }),
  );
});
