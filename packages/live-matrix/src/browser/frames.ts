import { MillraceError } from '@millrace/base/core';
import { makeReceiver, type Receiver, type ReceiverSession } from '../frame-receiver.ts';
import { makeSender, type Sender, type SenderOptions } from '../frame-sender.ts';
import { findFiller } from '../gpu/choose-filler.ts';
import type { GpuOptions } from '../gpu/gpu-engine.ts';
import { isIntegerIn } from '../parameters.ts';
import { createLocalRunner } from '../table/runner.ts';
import { WorkerRunner } from '../table/worker-runner.ts';
import { type BrowserEngineName, engineFrom, loadParts } from './engine.ts';
import { webHmac } from './hmac.ts';
import { defaultThreads, startWebThread, webTurn } from './thread.ts';

export interface BrowserReceiverOptions extends ReceiverSession {
  /** Hash engine; `auto` uses the fastest that runs here. `gpu`: as in Node. */
  readonly engine?: BrowserEngineName | 'auto' | 'gpu';
  /** Selects the card. Used only with engine `gpu`. */
  readonly gpu?: GpuOptions;
  /**
   * Called with one line if an engine other than the requested one is used. Default: writes to the browser's console.
   */
  readonly note?: (line: string) => void;
  /**
   * Number of web workers; 0 uses the calling thread, in slices of a few milliseconds. Default: 0 at order 16 or if the
   * page is not cross-origin isolated, otherwise one per core.
   */
  readonly threads?: number;
}

export function createSender(options: SenderOptions): Sender {
  return makeSender(options, webHmac);
}

/** Creates a receiver whose first revision is ready. @throws {MillraceError} E_INPUT, E_ENGINE */
export async function createReceiver(options: BrowserReceiverOptions): Promise<Receiver> {
  const { engine: setting = 'auto', note = (line) => console.warn(line) } = options;
  return makeReceiver(options, async ({ order }) => {
    const threads = options.threads ?? (order <= 16 ? 0 : defaultThreads());
    if (!isIntegerIn(threads, 0, 256)) throw new MillraceError('E_INPUT', 'threads must be 0 to 256');
    const loaded = await loadParts(setting === 'gpu' ? 'auto' : setting);
    const engine = await engineFrom(loaded);
    const runner =
      threads === 0 ? createLocalRunner(engine, webTurn) : new WorkerRunner(threads, () => startWebThread(loaded));
    const filler = setting === 'gpu' ? await findFiller(options.gpu, engine.name, note) : undefined;
    return { engine, hmac: webHmac, runner, filler, note };
  });
}
