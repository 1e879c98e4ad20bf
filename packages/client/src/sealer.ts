import { MillraceError, type RandomSource } from '@millrace/base';
import { DesignEstimator, estimateSink, SlicerNotes } from '@millrace/gcode';
import type { ToolPath } from '@millrace/toolpath';
import {
  type Counted,
  type Custody,
  type DesignFacts,
  type DesignKind,
  MAX_THUMBNAIL_BYTES,
  type PrivatePart,
  prepareDesign,
  type SealedDesign,
} from '@millrace/vault';

/** What is known of a design from looking at it as it passed. */
export type Observed = Pick<DesignFacts, 'times'> & Pick<PrivatePart, 'box' | 'material' | 'time' | 'thumbnail'>;

export interface DesignStream {
  /** Bytes, as far as it is known. */
  readonly size: number;
  /** Streams once. A chunk is valid until the next one is asked for. */
  chunks(): AsyncIterable<Uint8Array>;
}

/** What sealing needs to know of a design. */
export interface SealTerms {
  readonly kind: DesignKind;
  /** For binary designs: what a sink takes, at factor 1. */
  readonly bytesPerSecond?: number | undefined;
  readonly material?: string | undefined;
  /** The owner's secp256k1 key, compressed. */
  readonly owner: Uint8Array;
  readonly custody?: Custody | undefined;
}

export interface SealJob<S extends DesignStream = DesignStream> extends SealTerms {
  readonly source: S;
  readonly random: RandomSource;
  readonly signal?: AbortSignal | undefined;
  /** Takes the sealed segments in order; the next one is made when it is done. */
  sink(segment: number, sealed: Uint8Array): Promise<void>;
  /** Asked once, after the whole source was read. */
  describe(counted: Counted, observed: Observed): Promise<DesignFacts>;
  progress(done: number, total: number): void;
}

/** Seals a design as it streams through. In browsers a worker does it. */
export type Sealer<S extends DesignStream = DesignStream> = (job: SealJob<S>) => Promise<SealedDesign>;

/** A PNG of the tool's path of at most so many bytes. */
export type DrawThumbnail = (path: ToolPath, most: number) => Uint8Array | undefined;

/** Seals in this thread. @param drawThumbnail without it, designs get no picture */
export function createSealer(drawThumbnail?: DrawThumbnail): Sealer {
  return async ({ source, sink, describe, progress, signal, ...terms }) => {
    const observer = await observe(terms, drawThumbnail);
    return prepareDesign(watched(source, observer, progress), {
      ...terms,
      sink,
      describe: (counted) => describe(counted, observer.describe(counted)),
      ...(signal === undefined ? {} : { signal }),
    });
  };
}

async function* watched(
  { size, chunks }: DesignStream,
  observer: Observer,
  progress: (done: number, total: number) => void,
): AsyncGenerator<Uint8Array> {
  let done = 0;
  for await (const chunk of chunks()) {
    observer.push(chunk);
    yield chunk;
    done += chunk.length;
    progress(done, Math.max(done, size));
  }
}

interface Observer {
  push(chunk: Uint8Array): void;
  describe(counted: Counted): Observed;
}

/** Times every segment while the design streams through. */
async function observe(
  { kind, bytesPerSecond, material = 'PLA' }: SealTerms,
  drawThumbnail: DrawThumbnail | undefined,
): Promise<Observer> {
  if (kind === 'gcode') return observeGcode(material, drawThumbnail);
  if (bytesPerSecond === undefined) {
    throw new MillraceError('E_INPUT', 'a design that is not G-code needs --rate: bytes a second that the sink takes');
  }
  return {
    push: () => undefined,
    describe: ({ size }) => ({
      times: tenths(estimateSink(size, bytesPerSecond)),
      material: { name: material, milligrams: 0 },
      time: { model: Math.round((size / bytesPerSecond) * 1_000) },
    }),
  };
}

async function observeGcode(material: string, drawThumbnail: DrawThumbnail | undefined): Promise<Observer> {
  const { ThumbnailPath } = await import('@millrace/toolpath');
  const kept = new ThumbnailPath();
  const notes = new SlicerNotes();
  const estimator = new DesignEstimator({ onMove: (...move) => kept.add(...move) });
  return {
    push: (chunk) => {
      estimator.push(chunk);
      notes.push(chunk);
    },
    describe: () => {
      const { times, totalSeconds, box, material: used } = estimator.finish();
      const slicer = notes.finish();
      const thumbnail = drawThumbnail?.(kept.path, MAX_THUMBNAIL_BYTES);
      return {
        times: tenths(times),
        box: [...box.min, ...box.max].map((millimetres) => Math.round(millimetres * 1_000)),
        material: { name: material, milligrams: Math.round(used.grams * 1_000) },
        time: {
          model: Math.round(totalSeconds * 1_000),
          ...(slicer === undefined ? {} : { slicer: Math.round(slicer * 1_000) }),
        },
        ...(thumbnail === undefined ? {} : { thumbnail: Uint8Array.from(thumbnail) }),
      };
    },
  };
}

const tenths = (seconds: readonly number[]) => seconds.map((time) => Math.round(time * 10_000));
