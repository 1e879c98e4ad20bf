import { MillraceError } from '@millrace/base';
import WebSocket from 'ws';

const MAX_MESSAGE = 1 << 22;

export interface TextSocketOptions {
  /** Name of the server in messages. */
  readonly server: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly connectMs: number;
  /** A server that sends nothing at all for this long, not even the answer to a ping, is gone. */
  readonly silenceMs: number;
}

export interface TextSocketEvents {
  message(text: string): void;
  /** The other end is gone. Called at most once, and not after `close`. */
  lost(): void;
}

/** A websocket that carries text. */
export interface TextSocket {
  /** @param sent called when the text has left, or cannot leave any more */
  send(text: Uint8Array, sent?: (error?: Error | null) => void): void;
  close(): void;
}

/** @throws {MillraceError} E_MACHINE */
export function openTextSocket(
  url: string,
  { server, headers = {}, connectMs, silenceMs }: TextSocketOptions,
  { message, lost }: TextSocketEvents,
): Promise<TextSocket> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url, { headers, maxPayload: MAX_MESSAGE, handshakeTimeout: connectMs });
    let state: 'opening' | 'open' | 'closed' = 'opening';
    let cause: Error | undefined;
    let quiet = 0;
    let beat: NodeJS.Timeout | undefined;
    /** Two whole intervals without a sign are `silenceMs`. */
    const onBeat = () => {
      quiet += 1;
      if (quiet > 2) socket.terminate();
      else socket.ping();
    };
    socket.on('pong', () => {
      quiet = 0;
    });
    socket.on('message', (data) => {
      quiet = 0;
      if (state === 'open') message(data.toString());
    });
    socket.on('error', (error) => {
      cause = error;
      socket.terminate();
    });
    socket.on('close', () => {
      clearInterval(beat);
      const before = state;
      state = 'closed';
      if (before === 'open') lost();
      else if (before === 'opening') reject(new MillraceError('E_MACHINE', `${server} does not answer`, { cause }));
    });
    socket.on('open', () => {
      state = 'open';
      beat = setInterval(onBeat, silenceMs / 2);
      resolve({
        send: (text, sent) => socket.send(text, { binary: false }, sent),
        close: () => {
          state = 'closed';
          socket.terminate();
        },
      });
    });
  });
}
