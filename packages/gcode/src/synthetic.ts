import { type Bytes, utf8 } from '@millrace/base/core';

export interface SyntheticOptions {
  /** Exact length of the design. */
  readonly bytes: number;
  readonly seed?: number;
  /** Length of a chunk. The last one may be shorter. */
  readonly chunkBytes?: number;
}

const start = `; a synthetic design: rounded walls and crossed filling, layer by layer
M201 X1000 Y1000 Z200 E5000
M203 X200 Y200 Z12 E120
M204 P1250 R1250 T1250
G90
M83
M104 S215
M140 S60
M190 S60
M109 S215
G28
G21
`;

/**
 * Plausible G-code of any length, for tests and benchmarks: layers of three irregular walls and line infill, with
 * retractions, comments and fans as in a slicer's output. The same options give the same bytes, whatever the chunks.
 */
export function* syntheticDesign(options: SyntheticOptions): Generator<Bytes, void, undefined> {
  const chunkBytes = options.chunkBytes ?? 65_536;
  let pending = '';
  for (const piece of pieces(options.bytes, options.seed ?? 1)) {
    pending += piece;
    if (pending.length < chunkBytes) continue;
    let at = 0;
    for (; at + chunkBytes <= pending.length; at += chunkBytes) yield utf8(pending.slice(at, at + chunkBytes));
    pending = pending.slice(at);
  }
  if (pending.length > 0) yield utf8(pending);
}

/** Complete lines as long as they fit. A comment fills the rest. */
function* pieces(bytes: number, seed: number): Generator<string, void, undefined> {
  let left = bytes;
  let piece = start;
  const more = layers(seed);
  while (piece.length <= left) {
    yield piece;
    left -= piece.length;
    piece = more.next().value;
  }
  if (left > 0) yield `${';'.padEnd(left - 1, '-').slice(0, left - 1)}\n`;
}

function* layers(seed: number): Generator<string, never, undefined> {
  const random = generator(seed);
  const lobes = 3 + Math.floor(random() * 4);
  for (let layer = 0; ; layer += 1) {
    // Above the height of a usual machine, start again at the bottom.
    const z = 0.2 + (layer % 1000) * 0.2;
    yield `;LAYER_CHANGE\n;Z:${z.toFixed(2)}\nG92 E0\nG1 E-.8 F2100\nG1 Z${(z + 0.4).toFixed(2)} F10800\n`;
    if (layer === 1) yield 'M106 S255\n';
    const phase = layer * 0.02;
    for (let wall = 0; wall < 3; wall += 1) {
      yield* ring(z, 40 - wall * 0.45, lobes, phase, wall === 0, random);
    }
    yield* filling(z, layer % 2 === 0, random);
  }
}

function* ring(
  z: number,
  radius: number,
  lobes: number,
  phase: number,
  outer: boolean,
  random: () => number,
): Generator<string, void, undefined> {
  const points = 180;
  let lastX = 0;
  let lastY = 0;
  for (let n = 0; n <= points; n += 1) {
    const angle = (n / points) * 2 * Math.PI;
    const r = radius + 4 * Math.cos(lobes * angle + phase) + (random() - 0.5) * 0.02;
    const x = 125 + r * Math.cos(angle);
    const y = 105 + r * Math.sin(angle);
    if (n === 0) {
      yield `G1 X${x.toFixed(3)} Y${y.toFixed(3)} F10800\nG1 Z${z.toFixed(2)}\nG1 E.8 F2100\n`;
      yield outer ? ';TYPE:External perimeter\nG1 F1500\n' : ';TYPE:Perimeter\nG1 F2700\n';
    } else {
      const length = Math.hypot(x - lastX, y - lastY);
      yield `G1 X${x.toFixed(3)} Y${y.toFixed(3)} E${(length * 0.0376).toFixed(5)}\n`;
    }
    lastX = x;
    lastY = y;
  }
}

function* filling(z: number, along: boolean, random: () => number): Generator<string, void, undefined> {
  yield `;TYPE:Solid infill\n;WIDTH:0.45\nG1 F4800 ; at ${z.toFixed(2)}\n`;
  const half = 33;
  for (let at = -half; at <= half; at += 0.9) {
    const reach = Math.sqrt(half * half - at * at) - random() * 0.1;
    for (const side of [-1, 1]) {
      const x = 125 + (along ? reach * side : at);
      const y = 105 + (along ? at : reach * side);
      yield `G1 X${x.toFixed(3)} Y${y.toFixed(3)}${side > 0 ? ` E${(2 * reach * 0.0376).toFixed(5)}` : ''}\n`;
    }
  }
}

/** A small linear congruential generator (Numerical Recipes' constants): plausible, not random. */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}
