import { systemRandom, toMillraceError, wipe } from '@millrace/base';
import type { DesignFacts } from '@millrace/vault';
import type { DrawThumbnail } from '../design-kinds.ts';
import { createSealer } from '../sealer.ts';
import { chunksOf } from './blob-source.ts';
import type { FromWorker, SealRequest, ToWorker } from './messages.ts';

/** The part of a worker's global scope used here. */
export interface SealingScope {
  onmessage: ((event: { readonly data: SealRequest }) => void) | null;
}

/** Worker side of `createWorkerSealer`: seals what pages ask for. */
export function serveSealing(scope: SealingScope, drawThumbnail?: DrawThumbnail): void {
  scope.onmessage = ({ data }) => void serve(data, drawThumbnail);
}

async function serve({ terms, blob, port }: SealRequest, drawThumbnail: DrawThumbnail | undefined): Promise<void> {
  const abort = new AbortController();
  const say = (message: FromWorker, transfer: ArrayBuffer[] = []) => port.postMessage(message, transfer);
  let answered: (answer: ToWorker) => void = () => undefined;
  port.onmessage = ({ data }) => {
    const message = data as ToWorker;
    if (message.type === 'abort') abort.abort();
    answered(message);
  };
  /** Sends a message and waits for its answer. */
  const ask = (message: FromWorker, transfer: ArrayBuffer[] = []): Promise<ToWorker> =>
    new Promise((resolve) => {
      answered = resolve;
      say(message, transfer);
    });
  try {
    const design = await createSealer(drawThumbnail)({
      ...terms,
      source: { size: blob.size, chunks: () => chunksOf(blob) },
      random: systemRandom,
      signal: abort.signal,
      sink: async (number, sealed) => {
        await ask({ type: 'segment', number, sealed }, [sealed.buffer as ArrayBuffer]);
        abort.signal.throwIfAborted();
      },
      describe: async (counted, observed): Promise<DesignFacts> => {
        const answer = await ask({ type: 'describe', counted, observed });
        abort.signal.throwIfAborted();
        if (answer.type !== 'facts') throw new TypeError('the page did not answer what was asked');
        return answer.facts;
      },
      progress: (done, total) => say({ type: 'progress', done, total }),
    });
    say({ type: 'sealed', design });
    wipe(design.ceks, design.designSecret);
  } catch (error) {
    const { code, message, data } = toMillraceError(error);
    say({ type: 'failed', code, message, data });
  }
}
