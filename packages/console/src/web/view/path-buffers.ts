import type { LayerPath } from '@millrace/gcode';
import { attributes, HIDDEN } from './path-shader.ts';

const POINT_BYTES = 12;
const joint = Uint8Array.of(HIDDEN);

/** Points of a path on the graphics card, and for each point what the piece does that begins there. */
class Pieces {
  readonly #gl: WebGL2RenderingContext;
  readonly #array: WebGLVertexArrayObject;
  readonly #points: WebGLBuffer;
  readonly #kinds: WebGLBuffer;
  readonly #tools: WebGLBuffer;
  #length = 0;

  /** @param capacity in points */
  constructor(gl: WebGL2RenderingContext, capacity: number) {
    this.#gl = gl;
    this.#array = gl.createVertexArray();
    gl.bindVertexArray(this.#array);
    const reserve = (bytes: number) => {
      const buffer = gl.createBuffer();
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.bufferData(gl.ARRAY_BUFFER, bytes, gl.STATIC_DRAW);
      return buffer;
    };
    // The last piece ends at the point after it.
    this.#points = reserve(POINT_BYTES * (capacity + 1));
    gl.vertexAttribPointer(attributes.from, 3, gl.FLOAT, false, POINT_BYTES, 0);
    gl.vertexAttribPointer(attributes.to, 3, gl.FLOAT, false, POINT_BYTES, POINT_BYTES);
    this.#kinds = reserve(capacity);
    gl.vertexAttribIPointer(attributes.kind, 1, gl.UNSIGNED_BYTE, 1, 0);
    this.#tools = reserve(capacity);
    gl.vertexAttribIPointer(attributes.tool, 1, gl.UNSIGNED_BYTE, 1, 0);
    for (const location of Object.values(attributes)) {
      gl.enableVertexAttribArray(location);
      gl.vertexAttribDivisor(location, 1);
    }
  }

  /** Number of pieces, with those that join two layers. */
  get length(): number {
    return this.#length;
  }

  add({ points, kinds, tools }: Pick<LayerPath, 'points' | 'kinds' | 'tools'>): void {
    const put = (buffer: WebGLBuffer, at: number, data: Float32Array | Uint8Array) => {
      this.#gl.bindBuffer(this.#gl.ARRAY_BUFFER, buffer);
      this.#gl.bufferSubData(this.#gl.ARRAY_BUFFER, at, data);
    };
    put(this.#points, this.#length * POINT_BYTES, points);
    put(this.#kinds, this.#length, kinds);
    put(this.#kinds, this.#length + kinds.length, joint);
    put(this.#tools, this.#length, tools);
    this.#length += kinds.length + 1;
  }

  /** Draws the first pieces. */
  draw(pieces: number): void {
    if (pieces === 0) return;
    this.#gl.bindVertexArray(this.#array);
    this.#gl.drawArraysInstanced(this.#gl.TRIANGLE_STRIP, 0, 4, pieces);
  }

  close(): void {
    for (const buffer of [this.#points, this.#kinds, this.#tools]) this.#gl.deleteBuffer(buffer);
    this.#gl.deleteVertexArray(this.#array);
  }
}

/** The layers below the shown one, and the shown one as far as it is made. */
export class PathBuffers {
  readonly #gl: WebGL2RenderingContext;
  readonly #below: Pieces;
  /** Layers in `#below`, and where the pieces of each end. */
  readonly #ends: { readonly layer: number; readonly end: number }[] = [];
  #shown: { readonly path: LayerPath; readonly pieces: Pieces } | undefined;

  /** @param points that all layers to come have together */
  constructor(gl: WebGL2RenderingContext, points: number) {
    this.#gl = gl;
    this.#below = new Pieces(gl, points);
  }

  /** Layers come in order. */
  add(path: LayerPath): void {
    this.#below.add(path);
    this.#ends.push({ layer: path.layer, end: this.#below.length });
  }

  /** @param made number of moves of the layer that are drawn */
  draw(path: LayerPath, made: number): void {
    if (this.#shown?.path !== path) {
      this.#shown?.pieces.close();
      const pieces = new Pieces(this.#gl, path.kinds.length + 1);
      pieces.add(path);
      this.#shown = { path, pieces };
    }
    this.#below.draw(this.#ends.findLast(({ layer }) => layer < path.layer)?.end ?? 0);
    this.#shown.pieces.draw(made);
  }
}
