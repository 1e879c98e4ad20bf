export { channelPair, type LiveChannel } from './channel.ts';
export type { LiveSummary } from './ending.ts';
export type { LiveReceiver, LiveReceiverOptions } from './live-receiver.ts';
export { DEFAULT_PARAMETERS, type LiveSender, type LiveSenderOptions } from './live-sender.ts';
