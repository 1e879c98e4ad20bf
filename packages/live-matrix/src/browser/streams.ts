import { type LiveReceiver, type LiveReceiverOptions, makeLiveReceiver } from '../stream/live-receiver.ts';
import { type LiveSender, type LiveSenderOptions, makeLiveSender } from '../stream/live-sender.ts';
import { type BrowserEngineName, loadEngine } from './engine.ts';
import { createReceiver, createSender } from './frames.ts';

export interface BrowserLiveSenderOptions extends LiveSenderOptions {
  readonly engine?: BrowserEngineName | 'auto';
}

export interface BrowserLiveReceiverOptions extends LiveReceiverOptions {
  readonly engine?: BrowserEngineName | 'auto';
  /** Number of web workers for tables, as for `createReceiver`. */
  readonly threads?: number;
}

/** Sends any data as a live stream, in a browser. @throws {MillraceError} E_INPUT */
export function openLiveSender(options: BrowserLiveSenderOptions): LiveSender {
  return makeLiveSender(options, async (session) =>
    createSender({ ...session, engine: await loadEngine(options.engine) }),
  );
}

/** Receives a live stream, in a browser. @throws {MillraceError} E_INPUT */
export function openLiveReceiver(options: BrowserLiveReceiverOptions): LiveReceiver {
  const { engine, threads } = options;
  return makeLiveReceiver(options, (session) =>
    createReceiver({
      ...session,
      ...(engine === undefined ? {} : { engine }),
      ...(threads === undefined ? {} : { threads }),
    }),
  );
}
