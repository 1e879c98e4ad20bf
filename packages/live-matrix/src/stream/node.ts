import { createEngine } from '../engines/choose.ts';
import type { EngineSetting } from '../engines/engine.ts';
import { createReceiver } from '../node-receiver.ts';
import { createSender } from '../node-sender.ts';
import { type LiveReceiver, type LiveReceiverOptions, makeLiveReceiver } from './live-receiver.ts';
import { type LiveSender, type LiveSenderOptions, makeLiveSender } from './live-sender.ts';

export interface NodeLiveSenderOptions extends LiveSenderOptions {
  readonly engine?: EngineSetting;
}

export interface NodeLiveReceiverOptions extends LiveReceiverOptions {
  readonly engine?: EngineSetting;
  /** Number of threads for tables, as for `createReceiver`. */
  readonly threads?: number;
}

/** Sends any data as a live stream, in Node. @throws {MillraceError} E_INPUT, E_ENGINE */
export function openLiveSender(options: NodeLiveSenderOptions): LiveSender {
  const engine = createEngine(options.engine);
  return makeLiveSender(options, (session) => createSender({ ...session, engine }));
}

/** Receives a live stream, in Node. @throws {MillraceError} E_INPUT */
export function openLiveReceiver(options: NodeLiveReceiverOptions): LiveReceiver {
  const { engine, threads } = options;
  return makeLiveReceiver(options, (session) =>
    createReceiver({
      ...session,
      ...(engine === undefined ? {} : { engine }),
      ...(threads === undefined ? {} : { threads }),
    }),
  );
}
