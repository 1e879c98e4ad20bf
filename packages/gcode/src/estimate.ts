import { MillraceError } from '@millrace/base/core';
import { Execution, type ExecutionListener } from './execution.ts';
import { desktopLimits, type Filament, filamentGrams, type MotionLimits, pla } from './limits.ts';
import { EnvelopeRecorder } from './safety/envelope.ts';
import type { JobEnvelope } from './safety/reach.ts';

/** Design bytes in one sealed segment: 16,386 minus the AEAD tag. */
export const defaultSegmentBytes = 16_370;

/** mm, in machine coordinates; all zero if there is nothing to measure. */
export interface Box {
  readonly min: readonly [x: number, y: number, z: number];
  readonly max: readonly [x: number, y: number, z: number];
}

export interface EstimateOptions {
  readonly segmentBytes?: number;
  readonly limits?: MotionLimits;
  readonly filament?: Filament;
  /** Called for every piece of path: X, Y, Z of its end in mm, and the layer from 1. */
  readonly onMove?: (x: number, y: number, z: number, extruding: boolean, layer: number) => void;
}

export interface DesignEstimate {
  readonly bytes: number;
  /** Seconds per segment. A line counts in the segment that contains its last byte. */
  readonly times: number[];
  readonly totalSeconds: number;
  /** Bounding box of everything deposited. */
  readonly box: Box;
  /** Bounding box of all tool positions. */
  readonly reach: Box;
  readonly material: { readonly extrudedMm: number; readonly grams: number };
  /** Highest target temperatures, °C. */
  readonly hottest: { readonly hotend: number; readonly bed: number };
  readonly layers: number;
  readonly lines: number;
  readonly moves: number;
  /** Number of commands that the model does not know and skipped. */
  readonly unknownCommands: number;
  /** What the policy of a machine has to allow. */
  readonly envelope: JobEnvelope;
}

/** Time by segment, summed in the order of execution. */
export class SegmentTimes {
  readonly times: number[] = [];
  readonly #segmentBytes: number;

  /** @throws {MillraceError} E_INPUT if `segmentBytes` is not a positive integer */
  constructor(segmentBytes: number = defaultSegmentBytes) {
    if (!Number.isSafeInteger(segmentBytes) || segmentBytes < 1) {
      throw new MillraceError('E_INPUT', 'segmentBytes: expected a positive whole number');
    }
    this.#segmentBytes = segmentBytes;
  }

  spent(lineEnd: number, seconds: number): void {
    const segment = Math.floor((lineEnd - 1) / this.#segmentBytes);
    this.cover(lineEnd);
    this.times[segment] = (this.times[segment] ?? 0) + seconds;
  }

  /** Extends the list to cover `bytes`. */
  cover(bytes: number): void {
    const segments = Math.ceil(bytes / this.#segmentBytes);
    while (this.times.length < segments) this.times.push(0);
  }
}

/** The owner's estimate, fed chunk by chunk. */
export class DesignEstimator implements ExecutionListener {
  readonly #execution: Execution;
  readonly #segments: SegmentTimes;
  readonly #filament: Filament;
  readonly #onMove: EstimateOptions['onMove'];
  readonly #box = new Extent();
  readonly #reach = new Extent();
  readonly #recorder: EnvelopeRecorder;
  #x = 0;
  #y = 0;
  #z = 0;

  constructor(options: EstimateOptions = {}) {
    this.#segments = new SegmentTimes(options.segmentBytes);
    this.#filament = options.filament ?? pla;
    this.#onMove = options.onMove;
    this.#execution = new Execution(this, options.limits ?? desktopLimits);
    this.#recorder = new EnvelopeRecorder(this.#execution);
  }

  /** @throws {MillraceError} E_GCODE with the line */
  push(bytes: Uint8Array): void {
    for (let from = 0; from < bytes.length; ) {
      const newline = bytes.indexOf(10, from);
      const to = newline < 0 ? bytes.length : newline + 1;
      const part = bytes.subarray(from, to);
      this.#execution.push(part);
      this.#recorder.push(part);
      from = to;
    }
  }

  /** @throws {MillraceError} E_GCODE, E_DESIGN_EMPTY */
  finish(): DesignEstimate {
    const execution = this.#execution;
    execution.finish();
    const bytes = execution.reader.offset;
    if (bytes === 0) throw new MillraceError('E_DESIGN_EMPTY', 'the design holds no bytes');
    this.#segments.cover(bytes);
    return {
      bytes,
      times: this.#segments.times,
      totalSeconds: execution.seconds,
      box: this.#box.empty ? this.#reach.box() : this.#box.box(),
      reach: this.#reach.box(),
      material: { extrudedMm: execution.filament, grams: filamentGrams(execution.filament, this.#filament) },
      hottest: { hotend: execution.interpreter.hottest, bed: execution.interpreter.hottestBed },
      layers: execution.interpreter.layers,
      lines: execution.lines,
      moves: execution.moves,
      unknownCommands: execution.interpreter.unknown,
      envelope: this.#recorder.finish(),
    };
  }

  command(execution: Execution): void {
    this.#recorder.command(execution);
  }

  aimed(execution: Execution): void {
    this.#recorder.aimed(execution);
  }

  planned(direction: Float64Array, feed: number): void {
    this.#recorder.planned(direction, feed);
  }

  spent(lineEnd: number, seconds: number): void {
    this.#segments.spent(lineEnd, seconds);
  }

  travelled(execution: Execution): void {
    const { x, y, z } = execution;
    if (execution.extruding) {
      this.#box.include(this.#x, this.#y, this.#z);
      this.#box.include(x, y, z);
    }
    this.#reach.include(this.#x, this.#y, this.#z);
    this.#reach.include(x, y, z);
    this.#onMove?.(x, y, z, execution.extruding, execution.layer);
    this.#x = x;
    this.#y = y;
    this.#z = z;
  }
}

/**
 * Estimates a design from its bytes, in chunks of any size. Deterministic: the same bytes give the same numbers.
 * @throws {MillraceError} E_GCODE with the line, E_DESIGN_EMPTY, E_INPUT (segmentBytes)
 */
export async function estimateDesign(
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  options: EstimateOptions = {},
): Promise<DesignEstimate> {
  const estimator = new DesignEstimator(options);
  for await (const chunk of source) estimator.push(chunk);
  return estimator.finish();
}

/** Time that a plain sink needs for each segment of `bytes` bytes at `bytesPerSecond`. */
export function estimateSink(
  bytes: number,
  bytesPerSecond: number,
  segmentBytes: number = defaultSegmentBytes,
): number[] {
  const times: number[] = [];
  for (let at = 0; at < bytes; at += segmentBytes) {
    times.push(Math.min(segmentBytes, bytes - at) / bytesPerSecond);
  }
  return times;
}

class Extent {
  readonly #edges = new Float64Array([
    Number.POSITIVE_INFINITY,
    Number.POSITIVE_INFINITY,
    Number.POSITIVE_INFINITY,
    Number.NEGATIVE_INFINITY,
    Number.NEGATIVE_INFINITY,
    Number.NEGATIVE_INFINITY,
  ]);

  get empty(): boolean {
    return (this.#edges[0] as number) > (this.#edges[3] as number);
  }

  include(x: number, y: number, z: number): void {
    const edges = this.#edges;
    if (x < (edges[0] as number)) edges[0] = x;
    if (y < (edges[1] as number)) edges[1] = y;
    if (z < (edges[2] as number)) edges[2] = z;
    if (x > (edges[3] as number)) edges[3] = x;
    if (y > (edges[4] as number)) edges[4] = y;
    if (z > (edges[5] as number)) edges[5] = z;
  }

  box(): Box {
    if (this.empty) return { min: [0, 0, 0], max: [0, 0, 0] };
    const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = this.#edges;
    return { min: [a, b, c], max: [d, e, f] };
  }
}
