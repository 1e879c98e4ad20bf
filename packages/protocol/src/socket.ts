import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls, createSecureContext, type TLSSocket } from 'node:tls';
import {
  Backoff,
  type Bytes,
  type Closable,
  copyBytes,
  type Logger,
  MillraceError,
  sleep,
  toMillraceError,
} from '@millrace/base';
import WebSocket from 'ws';
import { Choice } from './callers.ts';
import type { Address } from './directory.ts';
import { clientTls, isPinned, type TlsOptions } from './http.ts';
import { PROTOCOL_HEADER, protocolHeaders, requireNear } from './version.ts';

/** Maximum message on a link, bytes: a frame of 65,538 bytes in sparse hints, with a margin. */
export const MAX_LINK_MESSAGE = 256 * 1024;

/**
 * Heartbeat interval, ms. A link without any message, even a pong, is closed: TCP would notice a cut cable or a router
 * that dropped the connection only after a quarter of an hour. Missed heartbeats are counted instead of time, so that a
 * suspended process first reads its messages.
 */
const BEAT_MS = 4_000;
const SILENT_BEATS = 3;

/** Time within which a link has to be open, ms. */
const OPEN_MS = 10_000;

export interface LinkSocket extends Closable {
  readonly connected: boolean;
  /** Sends the message if connected. @returns false if not connected; the stream is resumed later */
  send(message: Uint8Array): boolean;
  /** Bytes waiting to be written. */
  readonly buffered: number;
  /** Bytes on the wire of the current connection, in both directions, including TLS. */
  wireBytes(): number;
  /** Ends the current connection; another is opened at the address that is then current. */
  leave(): void;
  close(): void;
}

export interface LinkHandlers {
  message(message: Bytes): void;
  open?(at: Address): void;
  /** Called when the connection is lost. It is reopened with back-off. */
  closed?(): void;
}

/**
 * Opens a WebSocket over mutual TLS 1.3 and reopens it when the connection is lost, at the next of several addresses.
 */
export function connectLink(
  options: {
    addresses: () => readonly Address[];
    /** At which of them it begins, 0 ≤ n < 1. */
    first?: number;
    path: string;
    tls: TlsOptions;
    logger: Logger;
    beatMs?: number;
    openMs?: number;
  },
  handlers: LinkHandlers,
): LinkSocket {
  const stop = new AbortController();
  let socket: WebSocket | undefined;
  let tcp: Socket | undefined;

  const choice = new Choice(options.addresses, options.first);

  const connectOnce = (address: Address) =>
    new Promise<void>((resolve) => {
      const { host, port } = address;
      let peer: TLSSocket | undefined;
      const current = new WebSocket(`wss://${host}:${port}${options.path}`, {
        createConnection: () => {
          const tls = clientTls(options.tls);
          // Read the certificate first: an error after the socket is open would leak the socket.
          const secureContext = createSecureContext(tls);
          tcp = connectTcp(port, host);
          peer = connectTls({ socket: tcp, ...tls, secureContext });
          return peer;
        },
        headers: protocolHeaders,
        perMessageDeflate: false,
        maxPayload: MAX_LINK_MESSAGE,
      });
      current.binaryType = 'nodebuffer';
      current.on('upgrade', ({ headers }) => {
        try {
          requireNear(headers[PROTOCOL_HEADER], `${host}:${port}`);
        } catch (error) {
          options.logger.error({ err: toMillraceError(error) }, 'link refused');
          current.terminate();
        }
      });
      const end = () => current.terminate();
      // `handshakeTimeout` does not count while TLS waits for a process that is frozen.
      const opening = setTimeout(end, options.openMs ?? OPEN_MS);
      let silent = 0;
      let beat: NodeJS.Timeout | undefined;
      current.on('open', () => {
        clearTimeout(opening);
        socket = current;
        // Read once: Node returns it only once.
        const certificate = peer?.getPeerX509Certificate();
        beat = setInterval(() => {
          // A newer directory may no longer accept the certificate of this peer.
          if (++silent > SILENT_BEATS || !isPinned(certificate, options.tls.pin)) return current.terminate();
          current.ping();
        }, options.beatMs ?? BEAT_MS);
        handlers.open?.(address);
      });
      current.on('pong', () => {
        silent = 0;
      });
      current.on('message', (data: Buffer) => {
        silent = 0;
        handlers.message(copyBytes(data));
      });
      current.on('error', (error) =>
        options.logger.debug({ err: new MillraceError('E_UNAVAILABLE', error.message) }, 'link failed'),
      );
      current.on('close', () => {
        clearTimeout(opening);
        clearInterval(beat);
        stop.signal.removeEventListener('abort', end);
        const wasOpen = socket === current;
        socket = undefined;
        tcp = undefined;
        if (wasOpen) handlers.closed?.();
        resolve();
      });
      stop.signal.addEventListener('abort', end, { once: true });
    });

  const run = async () => {
    const backoff = new Backoff({ firstMs: 100, mostMs: 2_000 });
    while (!stop.signal.aborted) {
      const started = performance.now();
      const address = choice.current;
      await connectOnce(address);
      choice.leave(address);
      if (performance.now() - started > 5_000) backoff.reset();
      await sleep(backoff.next(), stop.signal).catch(() => undefined);
    }
  };
  void run();

  return {
    get connected() {
      return socket !== undefined;
    },
    get buffered() {
      return socket?.bufferedAmount ?? 0;
    },
    send: (message) => {
      if (socket?.readyState !== WebSocket.OPEN) return false;
      socket.send(message);
      return true;
    },
    wireBytes: () => (tcp === undefined ? 0 : tcp.bytesRead + tcp.bytesWritten),
    leave: () => socket?.terminate(),
    close: () => stop.abort(),
  };
}
