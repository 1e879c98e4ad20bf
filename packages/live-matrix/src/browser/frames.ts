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
  /** Which engine hashes; `auto` takes the fastest that runs here. `gpu`: as in Node. */
  readonly engine?: BrowserEngineName | 'auto' | 'gpu';
  /** Which card. Used with engine `gpu` only. */
  readonly gpu?: GpuOptions;
  /** Called with one line when another engine than the requested one is used. Default: the browser's console. */
  readonly note?: (line: string) => void;
  /**
   * Web workers to work in; 0 works in the calling thread, in pieces of some milliseconds. Default: none at order 16 and
   * where the page is not cross-origin isolated, one for each core otherwise.
   */
  readonly threads?: number;
}

export function createSender(options: SenderOptions): Sender {
  return makeSender(options, webHmac);
}

/** A receiver whose first revision is ready. @throws {MillraceError} E_INPUT, E_ENGINE */
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
