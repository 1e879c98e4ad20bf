import { MillraceError } from '@millrace/base';
import type { SealedDesign } from '@millrace/vault';
import type { Sealer, SealJob } from '../sealer.ts';
import type { BlobSource } from './blob-source.ts';
import type { FromWorker, Port, SealRequest, ToWorker } from './messages.ts';

/** The part of Worker used here. */
export interface SealingWorker {
  postMessage(message: SealRequest, transfer: readonly Port[]): void;
}

/**
 * Seals in a worker that runs `serveSealing`. Sealed segments arrive one by one: the worker makes the next after the
 * page has stored the last. The worker's randomness comes from the browser, not from the session.
 */
export function createWorkerSealer(worker: SealingWorker): Sealer<BlobSource> {
  return (job) => {
    const { kind, bytesPerSecond, material, owner, organisation, custody, source } = job;
    const { port1, port2 } = new MessageChannel() as unknown as { readonly port1: Port; readonly port2: Port };
    const sealed = answers(port1, job);
    const terms = { kind, bytesPerSecond, material, owner, organisation, custody };
    worker.postMessage({ terms, blob: source.blob, port: port2 }, [port2]);
    return sealed.finally(() => port1.close());
  };
}

function answers(port: Port, job: SealJob<BlobSource>): Promise<SealedDesign> {
  const { signal, sink, describe, progress } = job;
  const say = (message: ToWorker) => port.postMessage(message);
  return new Promise((resolve, reject) => {
    const stop = (reason: unknown) => {
      signal?.removeEventListener('abort', onAbort);
      say({ type: 'abort' });
      reject(reason);
    };
    const onAbort = () => stop(signal?.reason);
    if (signal?.aborted) return stop(signal.reason);
    signal?.addEventListener('abort', onAbort);
    port.onmessage = ({ data }) => {
      const message = data as FromWorker;
      switch (message.type) {
        case 'progress':
          return progress(message.done, message.total);
        case 'segment':
          return void sink(message.number, message.sealed).then(() => say({ type: 'stored' }), stop);
        case 'describe':
          return void describe(message.counted, message.observed).then((facts) => say({ type: 'facts', facts }), stop);
        case 'failed':
          return stop(new MillraceError(message.code, message.message, { data: message.data }));
        case 'sealed':
          signal?.removeEventListener('abort', onAbort);
          return resolve(message.design);
      }
    };
  });
}
