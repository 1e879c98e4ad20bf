import { MillraceError } from '@millrace/base';
import { DesignEstimator, estimateSink, type JobEnvelope, SlicerNotes } from '@millrace/gcode';
import type { ToolPath } from '@millrace/toolpath';
import { type Counted, type DesignFacts, MAX_THUMBNAIL_BYTES, type PrivatePart } from '@millrace/vault';

/** Facts observed while a design streamed through. */
export type Observed = Pick<DesignFacts, 'times'> &
  Pick<PrivatePart, 'box' | 'material' | 'time' | 'thumbnail'> & {
    /** How far the design goes, if this kind of design can be rehearsed. */
    readonly envelope?: JobEnvelope;
  };

export interface DesignObserver {
  push(chunk: Uint8Array): void;
  /** Call this once, at the end. */
  describe(counted: Counted): Observed;
}

/** Draws the tool's path as a PNG of at most `most` bytes. */
export type DrawThumbnail = (path: ToolPath, most: number) => Uint8Array | undefined;

export interface ObserverOptions {
  readonly material?: string | undefined;
  /** For designs that do not state how long they take. */
  readonly bytesPerSecond?: number | undefined;
  /** If undefined, designs get no picture. */
  readonly drawThumbnail?: DrawThumbnail | undefined;
}

/**
 * A kind of design that this client can seal. A machine can make it if its driver's formats include this kind, or any
 * bytes (docs/adr/0032). The cloud does not interpret kinds.
 */
export interface DesignKind {
  /** The kind as signed by the owner in the core. */
  readonly kind: string;
  readonly mediaType: string;
  /** Names of files that have this kind by default. */
  readonly fileNames: RegExp;
  /** Estimates the time of every segment while the design streams through. @throws {MillraceError} E_INPUT */
  observe(options: ObserverOptions): Promise<DesignObserver>;
}

/** The kind that slicers produce from models. */
export const SLICED_KIND = 'gcode';

const gcode: DesignKind = {
  kind: SLICED_KIND,
  mediaType: 'text/x-gcode',
  fileNames: /\.(gcode|gco|g|nc|ngc|tap)$/i,
  observe: observeGcode,
};

const binary: DesignKind = {
  kind: 'binary',
  mediaType: 'application/octet-stream',
  fileNames: /^/,
  observe: observeBytes,
};

/** All kinds. The last one accepts every file. */
export const designKinds: readonly DesignKind[] = [gcode, binary];

/** @throws {MillraceError} E_INPUT for a kind that this client cannot estimate */
export function designKind(name: string): DesignKind {
  const found = designKinds.find(({ kind }) => kind === name);
  if (found !== undefined) return found;
  const known = designKinds.map(({ kind }) => kind).join(', ');
  throw new MillraceError('E_INPUT', `unknown kind of design ${JSON.stringify(name)}: expected one of ${known}`);
}

export function designKindOfFile(path: string): DesignKind {
  return designKinds.find(({ fileNames }) => fileNames.test(path)) ?? binary;
}

async function observeBytes({ bytesPerSecond, material = 'PLA' }: ObserverOptions): Promise<DesignObserver> {
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

async function observeGcode({ material = 'PLA', drawThumbnail }: ObserverOptions): Promise<DesignObserver> {
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
      const { times, totalSeconds, box, material: used, envelope } = estimator.finish();
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
        envelope,
      };
    },
  };
}

const tenths = (seconds: readonly number[]) => seconds.map((time) => Math.round(time * 10_000));
