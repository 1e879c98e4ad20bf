import { Worker } from 'node:worker_threads';
import type { EngineSetting } from '../engines/engine.ts';
import type { Thread } from './worker-runner.ts';

/** A worker thread of Node with a separate engine. */
export function startThread(engine: EngineSetting): Thread {
  // The compiled file, even if this module runs from source: Node 20 does not load TypeScript.
  const worker = new Worker(new URL('../../dist/table/worker.js', import.meta.url), {
    workerData: { engine },
    execArgv: [],
    // All large data is in shared memory.
    resourceLimits: { maxYoungGenerationSizeMb: 4, maxOldGenerationSizeMb: 64 },
  });
  worker.unref();
  return {
    post(task) {
      worker.ref();
      worker.postMessage(task);
    },
    onAnswer: (listener) => void worker.on('message', listener),
    onError: (listener) => void worker.on('error', listener),
    rest: () => worker.unref(),
    end: () => worker.terminate(),
  };
}

/** Resolves after one turn of the event loop. */
export const nodeTurn = (): Promise<unknown> => new Promise(setImmediate);
