import { deflateSync, inflateSync } from 'node:zlib';
import { expect, it } from 'vitest';
import { Canvas } from '../src/canvas.ts';
import { pdfOf } from '../src/pdf.ts';

it('a picture is a PDF of one page of its size, with every offset and length right', () => {
  const canvas = new Canvas(30, 20);
  canvas.fill(0, 0, 30, 20, [255, 255, 255]);
  canvas.fill(3, 4, 5, 6, [0, 0, 0]);
  canvas.fill(10, 10, 1, 1, [10, 20, 60]);
  const file = Buffer.from(pdfOf(canvas, 100, deflateSync));
  const text = file.toString('latin1');
  expect(text.startsWith('%PDF-1.4\n%')).toBe(true);
  expect(text.endsWith('%%EOF\n')).toBe(true);
  const table = Number(/startxref\n(\d+)\n%%EOF\n$/.exec(text)?.[1]);
  const [, count = '', rows = '', trailer = ''] =
    /^xref\n0 (\d+)\n((?:\d{10} \d{5} [fn] \n)+)([\s\S]*)$/.exec(text.slice(table)) ?? [];
  expect(trailer).toContain(`/Size ${count} /Root 1 0 R`);
  const entries = rows
    .trimEnd()
    .split(' \n')
    .filter((row) => row !== '');
  expect(entries).toHaveLength(Number(count));
  expect(entries[0]).toBe('0000000000 65535 f');
  const objects = entries.slice(1).map((row) => {
    const at = Number(row.slice(0, 10));
    return text.slice(at, text.indexOf('endobj', at));
  });
  for (const [i, object] of objects.entries()) expect(object.startsWith(`${i + 1} 0 obj\n`)).toBe(true);
  const streams = objects.flatMap((object) => {
    const [, length] = /\/Length (\d+) >>\nstream\n/.exec(object) ?? [];
    if (length === undefined) return [];
    const from = object.indexOf('stream\n') + 7;
    expect(object.slice(from + Number(length))).toBe('\nendstream\n');
    return [Buffer.from(object.slice(from, from + Number(length)), 'latin1')];
  });
  expect(streams).toHaveLength(2);
  const grey = inflateSync(streams[0] ?? Buffer.alloc(0));
  expect(grey).toHaveLength(30 * 20);
  expect([grey[0], grey[4 * 30 + 3], grey[9 * 30 + 7], grey[9 * 30 + 8], grey[10 * 30 + 10]]).toEqual([
    255, 0, 0, 255, 30,
  ]);
  // 30 and 20 dots at 100 per inch.
  expect(objects[2]).toContain('/MediaBox [0 0 21.6 14.4]');
  expect(streams[1]?.toString()).toBe('q 21.6 0 0 14.4 0 0 cm /Picture Do Q\n');
});
