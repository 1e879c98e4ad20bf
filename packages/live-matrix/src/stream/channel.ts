/**
 * What a live stream runs over: whole messages both ways, in order, none lost or doubled. A TCP connection with lengths
 * in front, a WebSocket, a WebRTC data channel and a MessagePort all fit. The channel need not be secret or authentic:
 * altered, repeated or missing messages are detected and end the stream.
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
