import { parentPort, workerData } from 'node:worker_threads';
import { toMillraceError } from '@millrace/base/core';
import { createEngine } from '../engines/choose.ts';
import type { EngineSetting } from '../engines/engine.ts';
import { runTask, type Task } from './tasks.ts';
import { toWire, type WorkerAnswer } from './worker-messages.ts';

// Worker side of WorkerRunner: one answer per task.
const { engine: setting } = workerData as { readonly engine: EngineSetting };
const engine = createEngine(setting);

parentPort?.on('message', async (task: Task) => {
  let answer: WorkerAnswer;
  try {
    answer = { result: await runTask(engine, task) };
  } catch (error) {
    answer = { error: toWire(toMillraceError(error)) };
  }
  parentPort?.postMessage(answer);
});
