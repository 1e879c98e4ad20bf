const CHUNK_BYTES = 16_384;
/** Head byte, then four numbers of at most five bytes. */
const MAX_MOVE_BYTES = 21;
/** Maximum coordinate, µm: about 1 km in each direction, so that every difference fits 32 bits. */
const MAX_MICROMETRES = 2 ** 30 - 1;

const EXTRUDES = 1;
const LAYER = 2;
/** Bit of x. y and z have the next ones. */
const AXES = 4;

/** One straight move: its start and end, in mm. Valid only during the call to which it was passed. */
export interface Move {
  readonly x0: number;
  readonly y0: number;
  readonly z0: number;
  readonly x: number;
  readonly y: number;
  readonly z: number;
  /** Whether it deposits material. */
  readonly extruding: boolean;
  /** From 1; 0 before the first extrusion. */
  readonly layer: number;
}

/** A sequence of moves, and the state before the first one. */
interface Chunk {
  readonly start: Int32Array;
  readonly layer: number;
  readonly bytes: Uint8Array;
  length: number;
  moves: number;
}

/**
 * The path of a tool: a list of straight moves, each from the end of the previous one, the first from the origin.
 * Precise to the micrometre. Stored as differences: about 5 bytes per move of a typical part. Bounded: moves after
 * `maxMoves` are only counted.
 */
export class ToolPath {
  readonly maxMoves: number;
  /** Number of moves that were not stored. */
  dropped = 0;
  readonly #chunks: Chunk[] = [];
  readonly #place = new Int32Array(3);
  #layer = 0;
  #length = 0;

  constructor(maxMoves = 4_000_000) {
    this.maxMoves = maxMoves;
  }

  /** Number of stored moves. */
  get length(): number {
    return this.#length;
  }

  /** Memory used by the moves, bytes. */
  get bytes(): number {
    return this.#chunks.length * CHUNK_BYTES;
  }

  /** @param layer 0 to 2^31 - 1 */
  add(x: number, y: number, z: number, extruding: boolean, layer: number): void {
    if (this.#length === this.maxMoves) {
      this.dropped += 1;
      return;
    }
    const chunk = this.#roomyChunk();
    const head = chunk.length;
    let flags = extruding ? EXTRUDES : 0;
    chunk.length += 1;
    if (layer !== this.#layer) {
      flags |= LAYER;
      putDifference(chunk, layer - this.#layer);
      this.#layer = layer;
    }
    for (let axis = 0; axis < 3; axis += 1) {
      const before = this.#place[axis] as number;
      const now = micrometres(axis === 0 ? x : axis === 1 ? y : z);
      if (now === before) continue;
      flags |= AXES << axis;
      putDifference(chunk, now - before);
      this.#place[axis] = now;
    }
    chunk.bytes[head] = flags;
    chunk.moves += 1;
    this.#length += 1;
  }

  /** Visits all moves in order. */
  each(visit: (move: Move) => void): void {
    for (const chunk of this.#chunks) visitChunk(chunk, visit, false);
  }

  /** Visits all moves in reverse order. */
  eachBackwards(visit: (move: Move) => void): void {
    for (let n = this.#chunks.length - 1; n >= 0; n -= 1) visitChunk(this.#chunks[n] as Chunk, visit, true);
  }

  #roomyChunk(): Chunk {
    const last = this.#chunks.at(-1);
    if (last !== undefined && last.length + MAX_MOVE_BYTES <= CHUNK_BYTES) return last;
    const bytes = new Uint8Array(CHUNK_BYTES);
    const chunk: Chunk = { start: this.#place.slice(), layer: this.#layer, bytes, length: 0, moves: 0 };
    this.#chunks.push(chunk);
    return chunk;
  }
}

function micrometres(mm: number): number {
  return Math.max(-MAX_MICROMETRES, Math.min(MAX_MICROMETRES, Math.round(mm * 1000)));
}

/** Writes seven bits per byte, the lowest first, with the sign in the lowest bit. */
function putDifference(chunk: Chunk, difference: number): void {
  let rest = ((difference << 1) ^ (difference >> 31)) >>> 0;
  for (; rest > 127; rest >>>= 7) chunk.bytes[chunk.length++] = (rest & 127) | 128;
  chunk.bytes[chunk.length++] = rest;
}

function visitChunk(chunk: Chunk, visit: (move: Move) => void, backwards: boolean): void {
  const { bytes, moves } = chunk;
  // Unpack first: differences can be decoded only from the front. x, y, z and the layer, before each move and after the
  // last.
  const places = new Int32Array(4 * (moves + 1));
  const extrudes = new Uint8Array(moves);
  places.set(chunk.start);
  places[3] = chunk.layer;
  let at = 0;
  const takeDifference = (): number => {
    let rest = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++] as number;
      rest |= (byte & 127) << shift;
      if (byte < 128) return (rest >>> 1) ^ -(rest & 1);
    }
  };
  for (let n = 0; n < moves; n += 1) {
    const flags = bytes[at++] as number;
    const to = 4 * (n + 1);
    extrudes[n] = flags & EXTRUDES;
    places[to + 3] = (places[to - 1] as number) + ((flags & LAYER) === 0 ? 0 : takeDifference());
    for (let axis = 0; axis < 3; axis += 1) {
      places[to + axis] = (places[to - 4 + axis] as number) + ((flags & (AXES << axis)) === 0 ? 0 : takeDifference());
    }
  }
  const move = { x0: 0, y0: 0, z0: 0, x: 0, y: 0, z: 0, extruding: false, layer: 0 };
  for (let count = 0; count < moves; count += 1) {
    const n = backwards ? moves - 1 - count : count;
    const from = 4 * n;
    move.x0 = (places[from] as number) / 1000;
    move.y0 = (places[from + 1] as number) / 1000;
    move.z0 = (places[from + 2] as number) / 1000;
    move.x = (places[from + 4] as number) / 1000;
    move.y = (places[from + 5] as number) / 1000;
    move.z = (places[from + 6] as number) / 1000;
    move.layer = places[from + 7] as number;
    move.extruding = extrudes[n] === 1;
    visit(move);
  }
}
