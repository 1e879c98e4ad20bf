import { availableParallelism } from 'node:os';
import { MillraceError } from '@millrace/base/core';
import type { HashEngine } from '../engines/engine.ts';
import { isIntegerIn } from '../parameters.ts';
import { nodeTurn, startThread } from './node-thread.ts';
import { createLocalRunner, LaterRunner, MAX_LATER, type TaskRunner } from './runner.ts';
import { WorkerRunner } from './worker-runner.ts';

/** Default number of threads for filling a table of this order. */
export function defaultThreads(order: number, { later }: HashEngine): number {
  if (order <= 16) return 0;
  return later === undefined ? availableParallelism() : Math.min(availableParallelism(), MAX_LATER);
}

/** @throws {MillraceError} E_INPUT if `threads` is not 0 to 256 */
export function createRunner(engine: HashEngine, threads: number): TaskRunner {
  if (!isIntegerIn(threads, 0, 256)) throw new MillraceError('E_INPUT', 'threads must be 0 to 256');
  if (threads === 0) return createLocalRunner(engine, nodeTurn);
  if (engine.later !== undefined && threads <= MAX_LATER) return new LaterRunner(threads, engine, engine.later);
  return new WorkerRunner(threads, () => startThread(engine.name));
}
