import type { RandomSource } from '@millrace/base';
import {
  type Counted,
  type Custody,
  type DesignCore,
  type DesignFacts,
  prepareDesign,
  type SealedDesign,
} from '@millrace/vault';
import { type DesignObserver, type DrawThumbnail, designKind, type Observed } from './design-kinds.ts';

export interface DesignStream {
  /** Length in bytes, if known. */
  readonly size: number;
  /** Streams once. A chunk is valid until the next one is requested. */
  chunks(): AsyncIterable<Uint8Array>;
}

/** Parameters for sealing a design. */
export interface SealTerms {
  readonly kind: string;
  /** For designs that do not state how long they take: the rate of a sink at factor 1. */
  readonly bytesPerSecond?: number | undefined;
  readonly material?: string | undefined;
  /** The owner's secp256k1 key, compressed. */
  readonly owner: Uint8Array;
  /** The organisation for which the owner's key acts. */
  readonly organisation?: string | undefined;
  readonly custody?: Custody | undefined;
  /** Approvals that every licence of the design needs. */
  readonly approvals?: DesignCore['approvals'];
}

export interface SealJob<S extends DesignStream = DesignStream> extends SealTerms {
  readonly source: S;
  readonly random: RandomSource;
  readonly signal?: AbortSignal | undefined;
  /** Receives the sealed segments in order. The next one is made after it resolves. */
  sink(segment: number, sealed: Uint8Array): Promise<void>;
  /** Called once, after the whole source was read. */
  describe(counted: Counted, observed: Observed): Promise<DesignFacts>;
  progress(done: number, total: number): void;
}

/** Seals a design as it streams through. In browsers a worker does it. */
export type Sealer<S extends DesignStream = DesignStream> = (job: SealJob<S>) => Promise<SealedDesign>;

/** Seals on the calling thread. @param drawThumbnail if undefined, designs get no picture */
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
