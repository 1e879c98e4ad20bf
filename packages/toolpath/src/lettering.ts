import type { Canvas } from './canvas.ts';
import type { Colour } from './palette.ts';

// A small alphabet of strokes on a grid 4 wide and 6 high, 8 with descenders (x, then y from the top); "|" lifts the
// pen.
const glyphs: Readonly<Record<string, string>> = {
  A: '06 02 20 42 46|04 44',
  B: '00 30 41 42 33 03|33 44 45 36 06 00',
  C: '41 30 10 01 05 16 36 45',
  D: '00 20 42 44 26 06 00',
  E: '40 00 06 46|03 33',
  F: '40 00 06|03 33',
  G: '41 30 10 01 05 16 36 45 43 23',
  H: '00 06|40 46|03 43',
  I: '10 30|20 26|16 36',
  J: '30 35 26 16 05',
  K: '00 06|40 03 46',
  L: '00 06 46',
  M: '06 00 23 40 46',
  N: '06 00 46 40',
  O: '10 30 41 45 36 16 05 01 10',
  P: '06 00 30 41 42 33 03',
  Q: '10 30 41 45 36 16 05 01 10|24 46',
  R: '06 00 30 41 42 33 03|23 46',
  S: '41 30 10 01 02 13 33 44 45 36 16 05',
  T: '00 40|20 26',
  U: '00 05 16 36 45 40',
  V: '00 26 40',
  W: '00 16 23 36 40',
  X: '00 46|40 06',
  Y: '00 23 40|23 26',
  Z: '00 40 06 46',
  a: '42 46|43 32 12 03 05 16 36 45',
  b: '00 06|03 12 32 43 45 36 16 05',
  c: '43 32 12 03 05 16 36 45',
  d: '40 46|43 32 12 03 05 16 36 45',
  e: '04 44 43 32 12 03 05 16 36',
  f: '40 30 21 26|03 43',
  g: '42 47 38 18 07|43 32 12 03 05 16 36 45',
  h: '00 06|03 12 32 43 46',
  i: '12 22 26|16 36|20 20',
  j: '22 32 37 28 18|30 30',
  k: '00 06|42 04 46',
  l: '10 20 26|16 36',
  m: '02 06|03 12 23 26|23 32 43 46',
  n: '02 06|03 12 32 43 46',
  o: '12 32 43 45 36 16 05 03 12',
  p: '02 08|03 12 32 43 45 36 16 05',
  q: '42 48|43 32 12 03 05 16 36 45',
  r: '02 06|04 22 42',
  s: '42 12 03 14 34 45 36 06',
  t: '10 15 26 46|02 42',
  u: '02 05 16 36 45|42 46',
  v: '02 26 42',
  w: '02 16 23 36 42',
  x: '02 46|42 06',
  y: '02 05 16 36 45|42 47 38 18',
  z: '02 42 06 46',
  '0': '10 30 41 45 36 16 05 01 10|15 31',
  '1': '11 20 26|16 36',
  '2': '01 10 30 41 42 06 46',
  '3': '01 10 30 41 42 33 13|33 44 45 36 16 05',
  '4': '36 30 04 44',
  '5': '40 00 03 33 44 45 36 06',
  '6': '30 10 01 05 16 36 45 44 33 03',
  '7': '00 40 16',
  '8': '10 30 41 42 33 13 02 01 10|13 04 05 16 36 45 44 33',
  '9': '43 13 02 01 10 30 41 45 36 16',
  '-': '13 33',
  '.': '26 26',
  ',': '25 16',
  ':': '22 22|25 25',
  '/': '06 40',
  '(': '30 21 25 36',
  ')': '10 21 25 16',
  '+': '21 25|03 43',
  '%': '06 40|01 01|45 45',
  '#': '10 16|30 36|02 42|04 44',
  '=': '02 42|04 44',
  '*': '21 25|02 44|42 04',
  '×': '12 34|32 14',
  '·': '23 23',
  _: '06 46',
  ' ': '',
};
const unknown = '00 40 46 06 00';
const advance = 5.6;

/** Width of a text whose capitals are `size` pixels high. */
export function textWidth(text: string, size: number): number {
  return Math.max([...text].length * advance - (advance - 4), 0) * (size / 6);
}

/** Writes from (x, y), the upper left corner of the first letter. */
export function write(canvas: Canvas, text: string, x: number, y: number, size: number, colour: Colour): void {
  const unit = size / 6;
  let left = x;
  for (const letter of text) {
    for (const line of (glyphs[letter] ?? unknown).split('|')) {
      const points = line.split(' ').filter((point) => point !== '');
      for (let n = 1; n < points.length; n += 1) {
        const [from, to] = [place(points[n - 1] as string), place(points[n] as string)];
        canvas.stroke(
          left + from[0] * unit,
          y + from[1] * unit,
          left + to[0] * unit,
          y + to[1] * unit,
          Math.max(size / 8, 1.2),
          colour,
        );
      }
    }
    left += advance * unit;
  }
}

function place(point: string): [number, number] {
  return [point.charCodeAt(0) - 48, point.charCodeAt(1) - 48];
}
