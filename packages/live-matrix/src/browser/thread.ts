import { MillraceError } from '@millrace/base/core';
import type { WorkerAnswer } from '../table/worker-messages.ts';
import type { Thread } from '../table/worker-runner.ts';
import type { EngineParts } from './engine.ts';
import { type WebWorker, web } from './web.ts';

/**
 * Default number of threads: one per core if the page may share memory with workers, otherwise none. Without shared
 * memory the results of a worker would be lost.
 */
export function defaultThreads(): number {
  return web.crossOriginIsolated === true && web.Worker !== undefined ? (web.navigator?.hardwareConcurrency ?? 1) : 0;
}

/** A web worker with a separate engine. @throws {MillraceError} E_ENGINE if page and workers cannot share memory */
export function startWebThread(parts: EngineParts): Thread {
  if (web.crossOriginIsolated !== true || web.Worker === undefined) {
    throw new MillraceError('E_ENGINE', 'threads need a page that is cross-origin isolated (COOP and COEP headers)');
  }
  const worker: WebWorker = new web.Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
  worker.postMessage(parts);
  return {
    post: (task) => worker.postMessage(task),
    onAnswer: (listener) => worker.addEventListener('message', ({ data }) => listener(data as WorkerAnswer)),
    onError: (listener) =>
      worker.addEventListener('error', ({ message }) => listener(new Error(message ?? 'a worker cannot be loaded'))),
    rest: () => undefined,
    end: async () => worker.terminate(),
  };
}

/** Resolves after one turn of the event loop. Timers would wait for milliseconds. */
export function webTurn(): Promise<unknown> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.addEventListener('message', () => {
      port1.close();
      resolve(undefined);
    });
    port1.start();
    port2.postMessage(undefined);
  });
}
