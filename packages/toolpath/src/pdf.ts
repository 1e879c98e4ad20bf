import { type Bytes, concatBytes, utf8 } from '@millrace/base/core';
import type { Canvas } from './canvas.ts';
import { drawLabelPicture, LABEL_DOTS_PER_INCH, type Label } from './label.ts';

const POINTS_AN_INCH = 72;

/** Compresses in the format of zlib (RFC 1950). */
export type Deflate = (bytes: Uint8Array) => Uint8Array;

/** A paper label as a PDF file, one page of the label's size. */
export function drawLabelPdf(label: Label, deflate: Deflate): Bytes {
  return pdfOf(drawLabelPicture(label), LABEL_DOTS_PER_INCH, deflate);
}

/**
 * A PDF file (version 1.4) of one page that has exactly the size of the picture.
 * @param dotsPerInch resolution of the picture; its colours become grey
 */
export function pdfOf(canvas: Canvas, dotsPerInch: number, deflate: Deflate): Bytes {
  const [width, height] = [canvas.width, canvas.height].map((dots) => points((dots * POINTS_AN_INCH) / dotsPerInch));
  const image = deflate(greyOf(canvas));
  const size = `/Width ${canvas.width} /Height ${canvas.height}`;
  const content = utf8(`q ${width} 0 0 ${height} 0 0 cm /Picture Do Q\n`);
  return fileOf([
    utf8('<< /Type /Catalog /Pages 2 0 R >>'),
    utf8('<< /Type /Pages /Kids [3 0 R] /Count 1 >>'),
    utf8(
      `<< /Type /Page /Parent 2 0 R /MediaBox [0 0 ${width} ${height}] /Resources << /XObject << /Picture 4 0 R >> >> /Contents 5 0 R >>`,
    ),
    streamOf(
      `/Type /XObject /Subtype /Image ${size} /ColorSpace /DeviceGray /BitsPerComponent 8 /Filter /FlateDecode`,
      image,
    ),
    streamOf('', content),
  ]);
}

/** Header, objects numbered from 1, cross-reference table, trailer (ISO 32000-1, 7.5). */
function fileOf(objects: readonly Uint8Array[]): Bytes {
  const parts: Uint8Array[] = [utf8('%PDF-1.4\n'), Uint8Array.of(0x25, 0xe2, 0xe3, 0xcf, 0xd3, 0x0a)];
  const offsets: number[] = [];
  const length = () => parts.reduce((sum, part) => sum + part.length, 0);
  for (const [i, object] of objects.entries()) {
    offsets.push(length());
    parts.push(utf8(`${i + 1} 0 obj\n`), object, utf8('\nendobj\n'));
  }
  const table = length();
  const rows = offsets.map((offset) => `${String(offset).padStart(10, '0')} 00000 n \n`).join('');
  const count = objects.length + 1;
  parts.push(utf8(`xref\n0 ${count}\n0000000000 65535 f \n${rows}`));
  parts.push(utf8(`trailer\n<< /Size ${count} /Root 1 0 R >>\nstartxref\n${table}\n%%EOF\n`));
  return concatBytes(...parts);
}

function streamOf(entries: string, content: Uint8Array): Bytes {
  return concatBytes(utf8(`<< ${entries} /Length ${content.length} >>\nstream\n`), content, utf8('\nendstream'));
}

/** Mean of red, green and blue of every pixel. */
function greyOf({ pixels }: Canvas): Uint8Array {
  return Uint8Array.from({ length: pixels.length / 3 }, (_, n) =>
    Math.round(((pixels[3 * n] ?? 0) + (pixels[3 * n + 1] ?? 0) + (pixels[3 * n + 2] ?? 0)) / 3),
  );
}

function points(value: number): string {
  return String(Math.round(value * 1_000) / 1_000);
}
