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
   * Which engine hashes; `auto` takes the fastest that runs here. With `gpu` a graphics card hashes the tables, where there is
   * one that works, and the fastest engine does the rest; without one it does all of it, and `note` learns why. Receivers of
   * one thread may share an engine.
   */
  readonly engine?: EngineSetting | 'gpu' | HashEngine;
  /** Which card; looked at with engine `gpu` only. */
  readonly gpu?: GpuOptions;
  /** Learns, in one line, that something else than was asked for does the work; a warning of the process when left out. */
  readonly note?: (line: string) => void;
  /**
   * Threads to work in; 0 works in the calling one. Default: none at order 16, one for each core otherwise, at most 3
   * with the native engine. Up to 3 native ones are libuv's; all others are worker threads, with 10 MB and more each.
   */
  readonly threads?: number;
  /** Where its tables' memory comes from and goes to: one that is passed on saves each receiver two new tables. */
  readonly memory?: TableMemory;
}

/** A receiver whose first revision is ready, in Node. @throws {MillraceError} E_INPUT, E_ENGINE */
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
  // Loaded by those who ask for it only.
  const { findFiller } = await import('./gpu/choose-filler.ts');
  return findFiller(options, engine.name, note);
}
