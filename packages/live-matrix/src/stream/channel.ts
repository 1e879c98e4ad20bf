/**
 * What a live stream runs over: whole messages both ways, in order, none lost or doubled. A TCP connection with lengths
 * in front, a WebSocket, a WebRTC data channel and a MessagePort all fit. Nothing is asked of it for secrecy or
 * genuineness: what is altered, repeated or missing is noticed and ends the stream.
 */
export interface LiveChannel {
  readonly readable: ReadableStream<Uint8Array>;
  readonly writable: WritableStream<Uint8Array>;
}

/** Two ends of a channel within one process, for tests and for a worker's MessagePort-like neighbour. */
export function channelPair(): readonly [LiveChannel, LiveChannel] {
  const there = new TransformStream<Uint8Array, Uint8Array>();
  const back = new TransformStream<Uint8Array, Uint8Array>();
  return [
    { readable: back.readable, writable: there.writable },
    { readable: there.readable, writable: back.writable },
  ];
}
