import type { Bytes } from '@millrace/base/core';
import type { HashEngine, HashKey, LaterCalls } from '../engines/engine.ts';
import { type LongCalls, type ResolveKeys, resolveFrame } from '../frame/resolve.ts';
import type { Matrix } from '../parameters.ts';
import { type HintTable, type TableBuild, wipeTable } from './hint-table.ts';
import { type SweepMatches, sweepPiece } from './sweep-piece.ts';

/** A task small enough not to delay a frame. All arrays except `frame` are in shared memory. */
export type Task =
  | { readonly kind: 'partition'; readonly key: HashKey; build: TableBuild; first: number; count: number }
  | { readonly kind: 'index'; build: TableBuild; first: number; count: number }
  | { readonly kind: 'resolve'; matrix: Matrix; keys: ResolveKeys; table: HintTable; frame: Uint8Array }
  | { readonly kind: 'wipe'; readonly table: HintTable }
  | { readonly kind: 'sweep'; key: HashKey; order: number; codes: readonly bigint[]; first: bigint; count: number };

/** Result of a task: a cell (resolve), matches (sweep), or nothing. */
export type TaskResult = Bytes | SweepMatches | undefined;

export async function runTask(engine: HashEngine, task: Task): Promise<TaskResult> {
  switch (task.kind) {
    case 'partition':
      engine.partition(task.key, task.build, task.first, task.count);
      return undefined;
    case 'index':
      for (let part = task.first; part < task.first + task.count; part++) engine.index(task.build, part);
      return undefined;
    case 'resolve':
      return resolveFrame(engine, task.matrix, task.keys, task.frame, callsOf(engine, task.table));
    case 'wipe':
      wipeTable(task.table);
      return undefined;
    case 'sweep':
      return sweepPiece(engine, task.key, task.order, task.codes, task.first, task.count);
  }
}

function callsOf(calls: HashEngine | LaterCalls, table: HintTable): LongCalls {
  return { lookUp: (codes, skip) => calls.lookUp(table, codes, skip), solve: calls.solve };
}

/** Runs a task on the engine's threads. A sweep runs on the calling thread. */
export async function runTaskLater(engine: HashEngine, later: LaterCalls, task: Task): Promise<TaskResult> {
  switch (task.kind) {
    case 'partition':
      await later.partition(task.key, task.build, task.first, task.count);
      return undefined;
    case 'index':
      await later.index(task.build, task.first, task.count);
      return undefined;
    case 'resolve':
      return resolveFrame(engine, task.matrix, task.keys, task.frame, callsOf(later, task.table));
    case 'wipe':
      await later.wipe(task.table);
      return undefined;
    case 'sweep':
      return runTask(engine, task);
  }
}
