export { channelPair, type LiveChannel } from './channel.ts';
export type { LiveReceiver, LiveReceiverOptions } from './receiving.ts';
export { DEFAULT_PARAMETERS, type LiveSender, type LiveSenderOptions, type LiveSummary } from './sending.ts';
