import { Worker } from 'node:worker_threads';
import type { EngineSetting } from '../engines/engine.ts';
import type { Thread } from './worker-runner.ts';

/** One of Node's worker threads, with an engine of its own. */
export function startThread(engine: EngineSetting): Thread {
  // The built file even when this module runs from source: Node 20 loads no TypeScript.
  const worker = new Worker(new URL('../../dist/table/worker.js', import.meta.url), {
    workerData: { engine },
    execArgv: [],
    // All that is large lies in shared memory.
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

/** The event loop has turned. */
export const nodeTurn = (): Promise<unknown> => new Promise(setImmediate);
