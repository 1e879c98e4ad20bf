import { parentPort, workerData } from 'node:worker_threads';
import { createEngine, type EngineName, type SuiteName } from '@millrace/live-matrix';

/** One thread of the hash bench: hashes `count` values in chunks and reports each. */
export interface HashOrder {
  readonly suite: SuiteName;
  readonly count: number;
}

const { engine: name } = workerData as { readonly engine: EngineName };
const engine = createEngine(name);
const piece = new Uint32Array(2 ** 16);

parentPort?.on('message', ({ suite, count }: HashOrder) => {
  const key = { suite, revision: 1n, key: new Uint8Array(32) };
  for (let first = 0; first < count; first += piece.length) engine.hashRange(key, first, piece);
  parentPort?.postMessage(count);
});
