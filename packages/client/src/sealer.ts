import type { RandomSource } from '@millrace/base';
import { type Counted, type Custody, type DesignFacts, prepareDesign, type SealedDesign } from '@millrace/vault';
import { type DesignObserver, type DrawThumbnail, designKind, type Observed } from './design-kinds.ts';

export interface DesignStream {
  /** Bytes, as far as it is known. */
  readonly size: number;
  /** Streams once. A chunk is valid until the next one is asked for. */
  chunks(): AsyncIterable<Uint8Array>;
}

/** What sealing needs to know of a design. */
export interface SealTerms {
  readonly kind: string;
  /** For designs that do not tell how long they take: what a sink takes, at factor 1. */
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

/** Seals in this thread. @param drawThumbnail without it, designs get no picture */
export function createSealer(drawThumbnail?: DrawThumbnail): Sealer {
  return async ({ source, sink, describe, progress, signal, ...terms }) => {
    const observer = await designKind(terms.kind).observe({ ...terms, drawThumbnail });
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
  observer: DesignObserver,
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
