import type { Bytes } from '@millrace/base';
import type { HashEngine, HashKey } from '../engines/engine.ts';
import { type ResolveKeys, resolveFrame } from '../frame/resolve.ts';
import type { Matrix, Order } from '../parameters.ts';
import { countParts, indexPart, PARTS, type Table, wipeTable } from './table.ts';

/** A piece of work small enough not to hold a frame up for long. All arrays but `frame` lie in shared memory. */
export type Task =
  | { readonly kind: 'hash'; readonly key: HashKey; readonly order: Order; first: number; codes: Uint32Array }
  | { readonly kind: 'index'; codes: Uint32Array; order: Order; part: number; start: number; table: Table }
  | { readonly kind: 'resolve'; matrix: Matrix; keys: ResolveKeys; table: Table; frame: Uint8Array }
  | { readonly kind: 'wipe'; readonly table: Table };

/** What a task gives back: part counts (hash), a cell (resolve), or nothing. */
export type TaskResult = Uint32Array | Bytes | undefined;

export function runTask(engine: HashEngine, task: Task): TaskResult {
  switch (task.kind) {
    case 'hash': {
      engine.hashRange(task.key, task.first, task.codes);
      const counts = new Uint32Array(PARTS);
      countParts(task.codes, task.order, counts);
      return counts;
    }
    case 'index':
      indexPart(task.codes, task.order, task.part, task.start, task.table);
      return undefined;
    case 'resolve':
      return resolveFrame(engine, task.matrix, task.keys, task.table, task.frame);
    case 'wipe':
      wipeTable(task.table);
      return undefined;
  }
}
