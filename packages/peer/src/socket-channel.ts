import type { Socket } from 'node:net';
import { MillraceError } from '@millrace/base';
import type { LiveChannel } from '@millrace/live-matrix';
import { MessageJoiner, withLength } from './framing.ts';

/**
 * A connection as a channel of messages; the socket must have been opened with `allowHalfOpen`. Cancelling destroys it.
 */
export function socketChannel(socket: Socket): LiveChannel {
  socket.setNoDelay(true);
  socket.setKeepAlive(true, 10_000); // detects a computer that was switched off
  return { readable: readableOf(socket), writable: writableOf(socket) };
}

function readableOf(socket: Socket): ReadableStream<Uint8Array> {
  const joiner = new MessageJoiner();
  let over = false;
  return new ReadableStream<Uint8Array>(
    {
      start(controller) {
        const end = (error?: MillraceError) => {
          if (over) return;
          over = true;
          if (error === undefined) controller.close();
          else controller.error(error);
        };
        socket.on('data', (piece) => {
          if (over) return;
          try {
            for (const message of joiner.push(piece)) controller.enqueue(message);
          } catch (error) {
            end(error as MillraceError);
            socket.destroy();
          }
          if ((controller.desiredSize ?? 0) <= 0) socket.pause();
        });
        socket.on('end', () => end(joiner.inMessage ? broken() : undefined));
        socket.on('error', (cause) => end(broken(cause)));
        socket.on('close', () => end(broken()));
        socket.pause();
      },
      pull() {
        socket.resume();
      },
      cancel() {
        over = true;
        socket.destroy();
      },
    },
    { highWaterMark: 4 },
  );
}

function writableOf(socket: Socket): WritableStream<Uint8Array> {
  return new WritableStream<Uint8Array>(
    {
      start(controller) {
        socket.on('close', () => controller.error(broken()));
      },
      write: (message) =>
        new Promise((resolve, reject) => {
          socket.write(withLength(message), (cause) => {
            if (cause == null) resolve();
            else reject(broken(cause));
          });
        }),
      close: () =>
        new Promise((resolve) => {
          socket.once('close', resolve);
          socket.end(resolve);
        }),
      abort: () => void socket.destroy(),
    },
    { highWaterMark: 4 },
  );
}

function broken(cause?: unknown): MillraceError {
  const options = cause === undefined ? {} : { cause };
  return new MillraceError('E_STREAM_CUT', 'the connection to the other end is broken', options);
}
