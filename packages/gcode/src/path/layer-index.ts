import { MillraceError } from '@millrace/base/core';
import { CUT, pathKinds, TRAVEL } from './features.ts';
import { type PathListener, PathReader, type PathState } from './path-reader.ts';

/** More layers than any machine makes; their index has about 40 MB. */
const MAX_LAYERS = 1_000_000;
/** Distance of the places from which reading can begin, bytes. */
const STATE_BYTES = 65_536;
/** Maximum bytes of a line's code, with room for its end. */
const LINE_BYTES = 2048;
/** Maximum moves of a layer that are kept: their path has about 50 MB. */
const MAX_MOVES = 2_000_000;

/** Where the layers of a file are. Layer 0 is what comes before the first layer. All arrays have one entry for each. */
export interface LayerIndex {
  /** Length of the file, bytes. */
  readonly bytes: number;
  /** Number of layers, with layer 0. */
  readonly count: number;
  /** Byte offset of the line with the first move of the layer. */
  readonly start: Float64Array;
  /** Height of what the layer deposits or cuts, mm. */
  readonly z: Float32Array;
  readonly moves: Uint32Array;
  /**
   * X, Y, Z in mm: of everything that is deposited or cut, without the first layer's X and Y if there are others; of
   * all moves if that is nothing.
   */
  readonly min: readonly [number, number, number];
  readonly max: readonly [number, number, number];
  /** By index in `pathKinds`: whether the file has such moves. */
  readonly kinds: readonly boolean[];
  readonly tools: number;
  readonly states: readonly PathState[];
}

/** The path in one layer. */
export interface LayerPath {
  readonly layer: number;
  /** Begin of the first move, then the end of every move: X, Y, Z in mm. Where the tool jumps, a travel move joins. */
  readonly points: Float32Array<ArrayBuffer>;
  /** For every move: index in `pathKinds`. */
  readonly kinds: Uint8Array<ArrayBuffer>;
  readonly tools: Uint8Array<ArrayBuffer>;
  /** For every move: byte offset of the beginning of its line. */
  readonly lines: Float64Array<ArrayBuffer>;
  /** Number of moves that were left out because the layer has too many. */
  readonly dropped: number;
}

class Table {
  start = new Float64Array(256);
  z = new Float32Array(256);
  moves = new Uint32Array(256);
  count = 0;

  add(start: number): void {
    if (this.count === MAX_LAYERS) throw new MillraceError('E_GCODE', `more than ${MAX_LAYERS} layers`);
    if (this.count === this.start.length) {
      const grown = { start: new Float64Array(2 * this.count), z: new Float32Array(2 * this.count) };
      const moves = new Uint32Array(2 * this.count);
      grown.start.set(this.start);
      grown.z.set(this.z);
      moves.set(this.moves);
      Object.assign(this, grown, { moves });
    }
    this.start[this.count] = start;
    this.z[this.count] = Number.NaN;
    this.count += 1;
  }
}

class Bounds {
  readonly min: [number, number, number] = [Infinity, Infinity, Infinity];
  readonly max: [number, number, number] = [-Infinity, -Infinity, -Infinity];

  get found(): boolean {
    return Number.isFinite(this.min[0]);
  }

  add({ min, max }: Bounds): void {
    this.include(min);
    this.include(max);
  }

  include(point: ArrayLike<number>): void {
    for (let axis = 0; axis < 3; axis += 1) {
      const value = point[axis] as number;
      if (value < (this.min[axis] as number)) this.min[axis] = value;
      if (value > (this.max[axis] as number)) this.max[axis] = value;
    }
  }
}

/** Finds the layers of a file that streams through. It keeps some bytes for each layer, and none of the path. */
export class LayerIndexer implements PathListener {
  readonly #path = new PathReader(this);
  readonly #table = new Table();
  /** Of everything that is deposited or cut: in the first layer, and in those above it. */
  readonly #first = new Bounds();
  readonly #above = new Bounds();
  readonly #all = new Bounds();
  readonly #kinds = pathKinds.map(() => false);
  readonly #states: PathState[] = [];
  #tools = 1;

  constructor() {
    this.#table.add(0);
  }

  /** @throws {MillraceError} E_GCODE with the line number, never with bytes of the design */
  push(bytes: Uint8Array): void {
    this.#path.push(bytes);
  }

  /** Number of layers so far. */
  get layers(): number {
    return this.#table.count - 1;
  }

  finish(): LayerIndex {
    this.#path.finish();
    const { count, start, z, moves } = this.#table;
    const { min, max } = this.#bounds();
    return {
      ...{ bytes: this.#path.offset, count, kinds: this.#kinds, tools: this.#tools, states: this.#states },
      ...{ start: start.slice(0, count), z: z.slice(0, count), moves: moves.slice(0, count) },
      ...{ min, max },
    };
  }

  /** Skirts and priming lines are in the first layer: they do not count if there are others. */
  #bounds(): Bounds {
    const bounds = new Bounds();
    if (this.#above.found) {
      bounds.add(this.#above);
      if (this.#first.found) bounds.min[2] = Math.min(bounds.min[2], this.#first.min[2]);
    } else if (this.#first.found) bounds.add(this.#first);
    else if (this.#all.found) bounds.add(this.#all);
    else bounds.include([0, 0, 0]);
    return bounds;
  }

  moved(path: PathReader): void {
    const { layer, kind, from, to, tool } = path;
    const table = this.#table;
    while (table.count <= layer) table.add(path.lineStart);
    table.moves[layer] = (table.moves[layer] as number) + 1;
    this.#kinds[kind] = true;
    if (tool >= this.#tools) this.#tools = Math.min(tool + 1, 255);
    if (kind === TRAVEL) {
      this.#all.include(to);
      return;
    }
    if (Number.isNaN(table.z[layer] as number)) table.z[layer] = to[2] as number;
    const bounds = layer > 1 || kind === CUT ? this.#above : this.#first;
    bounds.include(from);
    bounds.include(to);
  }

  lineEnded(path: PathReader): void {
    const last = this.#states.at(-1)?.offset ?? 0;
    if (path.offset - last >= STATE_BYTES) this.#states.push(path.save());
  }
}

/** Reads bytes of the file. */
export type ReadBytes = (from: number, to: number) => Promise<Uint8Array>;

/** The last layer that begins at or before a byte of the file. */
export function layerAt({ start }: Pick<LayerIndex, 'start'>, offset: number): number {
  return before(start.length, (n) => (start[n] as number) <= offset);
}

/** Reads the path of one layer, from the nearest place before it. */
export async function readLayer(index: LayerIndex, layer: number, read: ReadBytes): Promise<LayerPath> {
  const { start, states, bytes } = index;
  const begin = start[layer] as number;
  const end = layer + 1 < index.count ? Math.min((start[layer + 1] as number) + LINE_BYTES, bytes) : bytes;
  const near = states[before(states.length, (n) => (states[n] as PathState).offset <= begin)];
  const state = near !== undefined && near.offset <= begin ? near : undefined;
  const collector = new Collector(layer, index.moves[layer] as number);
  const path = new PathReader(collector, state);
  path.push(await read(state?.offset ?? 0, end), () => path.layer <= layer);
  if (end === bytes && path.layer <= layer) path.finish();
  return collector.path();
}

/** The last of `count` ordered entries that is before; 0 if none is. */
function before(count: number, isBefore: (n: number) => boolean): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (isBefore(middle)) low = middle + 1;
    else high = middle;
  }
  return Math.max(low - 1, 0);
}

class Collector implements PathListener {
  readonly #layer: number;
  readonly #points: Float32Array<ArrayBuffer>;
  readonly #kinds: Uint8Array<ArrayBuffer>;
  readonly #tools: Uint8Array<ArrayBuffer>;
  readonly #lines: Float64Array<ArrayBuffer>;
  readonly #dropped: number;
  #count = 0;

  constructor(layer: number, moves: number) {
    const kept = Math.min(moves, MAX_MOVES);
    this.#layer = layer;
    this.#points = new Float32Array(3 * (kept + 1));
    this.#kinds = new Uint8Array(kept);
    this.#tools = new Uint8Array(kept);
    this.#lines = new Float64Array(kept);
    this.#dropped = moves - kept;
  }

  moved({ layer, from, to, kind, tool, lineStart }: PathReader): void {
    if (layer !== this.#layer || this.#count === this.#kinds.length) return;
    if (this.#count === 0) this.#points.set(from);
    this.#points.set(to, 3 * (this.#count + 1));
    this.#kinds[this.#count] = kind;
    this.#tools[this.#count] = Math.min(tool, 254);
    this.#lines[this.#count] = lineStart;
    this.#count += 1;
  }

  path(): LayerPath {
    const n = this.#count;
    return {
      ...{ layer: this.#layer, points: this.#points.slice(0, 3 * (n + 1)), dropped: this.#dropped },
      ...{ kinds: this.#kinds.slice(0, n), tools: this.#tools.slice(0, n), lines: this.#lines.slice(0, n) },
    };
  }
}
