import { toMillraceError } from '@millrace/base/core';
import type { HashEngine } from '../engines/engine.ts';
import { runTask, type Task } from '../table/tasks.ts';
import { toWire, type WorkerAnswer } from '../table/worker-messages.ts';
import { type EngineParts, engineFrom } from './engine.ts';
import type { WorkerScope } from './web.ts';

// Worker side of startWebThread: receives the engine's parts, then tasks; answers each task once.
const scope = globalThis as unknown as WorkerScope;
let engine: Promise<HashEngine> | undefined;

scope.onmessage = async ({ data }) => {
  if (engine === undefined) {
    engine = engineFrom(data as EngineParts);
    return;
  }
  let answer: WorkerAnswer;
  try {
    answer = { result: await runTask(await engine, data as Task) };
  } catch (error) {
    answer = { error: toWire(toMillraceError(error)) };
  }
  scope.postMessage(answer);
};
