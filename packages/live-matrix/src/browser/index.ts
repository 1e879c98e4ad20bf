/* Browser entry point: WebAssembly loaded by fetch, web workers if memory can be shared, no Node modules. */

export type { HashEngine, HashKey } from '../engines/engine.ts';
export { claimedRevision, HEADER_BYTES, MAC_BYTES } from '../frame/header.ts';
export type { DecodedFrame, Receiver, ReceiverSession } from '../frame-receiver.ts';
export type { Sender, SenderOptions } from '../frame-sender.ts';
export {
  type HintMode,
  MAX_CELL_BYTES,
  type MatrixParameters,
  MIX_INTERVAL,
  type Order,
  SEED_BYTES,
  SESSION_ID_BYTES,
} from '../parameters.ts';
export { Ratchet, type RevisionKeys, wipeKeys } from '../ratchet.ts';
export { deriveSeed, type SeedInputs } from '../seed.ts';
export * from '../stream/index.ts';
export { KEY_BYTES, type SuiteName, suites } from '../suites.ts';
export { type BrowserEngineName, loadEngine } from './engine.ts';
export * from './frames.ts';
export * from './streams.ts';
