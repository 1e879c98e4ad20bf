/**
 * The transport of a live stream: whole messages in both directions, in order, none lost or duplicated. Examples: a TCP
 * connection with length prefixes, a WebSocket, a WebRTC data channel, a MessagePort. The channel need not be secret or
 * authentic: altered, repeated or missing messages are detected and end the stream.
 */
export interface LiveChannel {
  readonly readable: ReadableStream<Uint8Array>;
  readonly writable: WritableStream<Uint8Array>;
}

/** Two ends of a channel within one process. */
export function channelPair(): readonly [LiveChannel, LiveChannel] {
  const there = new TransformStream<Uint8Array, Uint8Array>();
  const back = new TransformStream<Uint8Array, Uint8Array>();
  return [
    { readable: back.readable, writable: there.writable },
    { readable: there.readable, writable: back.writable },
  ];
}
