import { createEngine } from './engines/choose.ts';
import type { EngineSetting, HashEngine } from './engines/engine.ts';
import { nodeHmac } from './frame/node-hmac.ts';
import { makeReceiver, type Receiver, type ReceiverSession } from './frame-receiver.ts';
import type { GpuOptions } from './gpu/gpu-engine.ts';
import { secretMemory } from './secrets/node.ts';
import type { TableMemory } from './table/memory.ts';
import { createRunner, defaultThreads } from './table/node-runner.ts';

export type { DecodedFrame, Receiver } from './frame-receiver.ts';

export interface ReceiverOptions extends ReceiverSession {
  /**
   * Hash engine; `auto` uses the fastest that runs. With `gpu` a graphics card hashes the tables and the fastest engine
   * does the rest. Without a working card the engine does everything and `note` gets the reason. Receivers on one
   * thread may share an engine.
   */
  readonly engine?: EngineSetting | 'gpu' | HashEngine;
  /** Selects the card. Used only with engine `gpu`. */
  readonly gpu?: GpuOptions;
  /** Called with one line if an engine other than the requested one is used. Default: emits a process warning. */
  readonly note?: (line: string) => void;
  /**
   * Number of threads; 0 uses the calling thread. Default: 0 at order 16, otherwise one per core, at most 3 with the
   * native engine. Up to 3 native threads are libuv's. All others are worker threads of at least 10 MB each.
   */
  readonly threads?: number;
  /** Pool for the memory of tables. Receivers that share a pool reuse its tables. */
  readonly memory?: TableMemory;
}

/** Creates a receiver whose first revision is ready. @throws {MillraceError} E_INPUT, E_ENGINE */
export async function createReceiver(options: ReceiverOptions): Promise<Receiver> {
  const { engine: setting, note = (line) => process.emitWarning(line, 'MillraceWarning') } = options;
  return makeReceiver(
    options,
    async (matrix) => {
      const engine = typeof setting === 'object' ? setting : createEngine(setting === 'gpu' ? 'auto' : setting);
      const runner = createRunner(engine, options.threads ?? defaultThreads(matrix.order, engine));
      const filler = setting === 'gpu' ? await findCard(options.gpu, engine, note) : undefined;
      return { engine, hmac: nodeHmac, runner, filler, note, memory: options.memory };
    },
    secretMemory(),
  );
}

async function findCard(options: GpuOptions | undefined, engine: HashEngine, note: (line: string) => void) {
  // Load the module on demand.
  const { findFiller } = await import('./gpu/choose-filler.ts');
  return findFiller(options, engine.name, note);
}
