import { MillraceError } from '@millrace/base/core';
import type { WorkerAnswer } from '../table/worker-messages.ts';
import type { Thread } from '../table/worker-runner.ts';
import type { EngineParts } from './engine.ts';
import { type WebWorker, web } from './web.ts';

/**
 * Threads to work in when nobody says: one for each core where pages may share memory with workers, else none.
 * What a worker puts into memory that is not shared is lost.
 */
export function defaultThreads(): number {
  return web.crossOriginIsolated === true && web.Worker !== undefined ? (web.navigator?.hardwareConcurrency ?? 1) : 0;
}

/** A web worker with an engine of its own. @throws {MillraceError} E_ENGINE where pages and workers share no memory */
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

/** The event loop has turned; timers would wait for milliseconds. */
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
