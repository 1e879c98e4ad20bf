import { distributionLinks } from '@millrace/api';
import { type Bytes, type Closable, isErrorCode, type Logger, MillraceError } from '@millrace/base';
import type { TlsIdentity } from '@millrace/identity';
import {
  type Address,
  connectLink,
  type Directory,
  decodeLink,
  encodeControl,
  encodeStream,
  type LinkControl,
  type LinkMessage,
  tlsTo,
} from '@millrace/protocol';
import { defaultTiming } from './timing.ts';

export type CallMethod = Extract<LinkControl, { type: 'call' }>['method'];
/** Messages of streams, in order of arrival. */
export type StreamMessage =
  | Extract<LinkControl, { type: 'offer' | 'hashes' | 'mix' | 'release' | 'end' | 'lost' }>
  | { readonly type: 'frame' | 'key'; readonly payload: Bytes };

export interface CallOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * The agent's only connection, to one of the distribution nodes. When it breaks, the agent connects to the next one. It
 * also leaves a node that keeps the connection and gives nothing.
 */
export interface CloudLink extends Closable {
  readonly connected: boolean;
  /** Resolves once connected. */
  whenConnected(signal: AbortSignal): Promise<void>;
  /** @throws {MillraceError} the code that control answered; E_UNAVAILABLE if the answer is lost; E_TIMEOUT */
  call(method: CallMethod, body: Bytes, options: CallOptions): Promise<Bytes>;
  /** @returns false if there is no connection */
  sendReverse(frame: Uint8Array): boolean;
  /** Something genuine came through this node. */
  heard(): void;
  /** Nothing came through this node that should have come: turns to another one, if there is one. */
  leave(why: string): void;
  /** Bytes on the wire over all connections so far, both directions, TLS included. */
  wireBytes(): number;
  close(): void;
}

interface Waiting {
  resolve(body: Bytes): void;
  reject(error: unknown): void;
}

export function connectCloud(
  options: {
    /** Of all distribution nodes. */
    addresses: () => readonly Address[];
    directory: Directory;
    tls: () => TlsIdentity;
    logger: Logger;
    quietMs?: number;
  },
  handlers: {
    stream(message: StreamMessage): void;
    lost(): void;
    open?(): void;
    /** Distribution says that it has the directory with this number. */
    directory?(sequence: number): void;
  },
): CloudLink {
  const { logger, directory, quietMs = defaultTiming.quietMs } = options;
  /** When something genuine came last over this connection, or it was opened; monotonic ms. */
  let heardAt = performance.now();
  const leave = (why: string) => {
    if (options.addresses().length < 2 || !socket.connected) return;
    logger.warn({ why }, 'leaving the distribution node for another one');
    socket.leave();
  };
  /** A call was not answered by control. */
  const unanswered = (why: string) => {
    if (performance.now() - heardAt >= quietMs) leave(why);
  };
  const calls = new Map<number, Waiting>();
  const connecting = new Set<() => void>();
  let lastCall = 0;
  // The socket counts only the current connection. `earlier` holds the bytes of all previous connections.
  let [earlier, current] = [0, 0];
  const meter = (): number => {
    const now = socket.wireBytes();
    if (now < current) earlier += current;
    current = now;
    return earlier + current;
  };

  const receive = (message: LinkMessage): void => {
    if (message.kind === 'control') return receiveControl(message.message);
    if (message.kind !== 'reverse') return handlers.stream({ type: message.kind, payload: message.payload });
    logger.warn('dropped a reverse frame from the cloud: only machines send them');
  };
  const receiveControl = (message: LinkControl): void => {
    switch (message.type) {
      case 'answer':
        heardAt = performance.now();
        return take(message.call)?.resolve(new Uint8Array(message.body));
      case 'error': {
        const code = isErrorCode(message.code) ? message.code : 'E_INTERNAL';
        if (code !== 'E_UNAVAILABLE' && code !== 'E_TIMEOUT') heardAt = performance.now();
        else unanswered('it does not reach control');
        return take(message.call)?.reject(new MillraceError(code, message.message));
      }
      case 'directory':
        return handlers.directory?.(message.sequence);
      case 'call':
      case 'admit':
      case 'route':
        return logger.warn({ type: message.type }, 'dropped a message of a type that only the cloud receives');
      default:
        return handlers.stream(message);
    }
  };
  const take = (call: number): Waiting | undefined => {
    const waiting = calls.get(call);
    calls.delete(call);
    return waiting;
  };

  const socket = connectLink(
    {
      addresses: options.addresses,
      first: Math.random(), // machines begin at different nodes
      path: distributionLinks.machine.path,
      tls: tlsTo(directory, 'distribution', options.tls),
      logger,
    },
    {
      open: (at) => {
        heardAt = performance.now();
        logger.info({ at: `${at.host}:${at.port}` }, 'connected to the distribution node');
        for (const resolve of connecting) resolve();
        connecting.clear();
        handlers.open?.();
      },
      message: (bytes) => {
        meter();
        let message: LinkMessage;
        try {
          message = decodeLink(bytes, false);
        } catch (error) {
          return logger.warn({ err: error }, 'dropped a message from the cloud that cannot be decoded');
        }
        receive(message);
      },
      closed: () => {
        logger.warn('connection to the distribution node lost; connecting again');
        for (const call of [...calls.keys()]) take(call)?.reject(unavailable('the connection was lost'));
        handlers.lost();
      },
    },
  );

  return {
    get connected() {
      return socket.connected;
    },
    whenConnected: (signal) => {
      if (socket.connected) return Promise.resolve();
      return new Promise((resolve, reject) => {
        if (signal.aborted) return reject(signal.reason);
        const onAbort = () => {
          connecting.delete(onOpen);
          reject(signal.reason);
        };
        const onOpen = () => {
          signal.removeEventListener('abort', onAbort);
          resolve();
        };
        connecting.add(onOpen);
        signal.addEventListener('abort', onAbort, { once: true });
      });
    },
    call: (method, body, { timeoutMs, signal }) =>
      new Promise((resolve, reject) => {
        if (signal?.aborted) return reject(signal.reason);
        const call = ++lastCall;
        const settle = <A extends readonly unknown[]>(how: (...values: A) => void) => {
          return (...values: A) => {
            clearTimeout(timer);
            calls.delete(call);
            signal?.removeEventListener('abort', onAbort);
            how(...values);
          };
        };
        const fail = settle(reject);
        const onAbort = () => fail(signal?.reason);
        const timer = setTimeout(() => {
          fail(new MillraceError('E_TIMEOUT', `${method}: no answer in time`));
          unanswered('it gives no answers');
        }, timeoutMs);
        calls.set(call, { resolve: settle(resolve), reject: fail });
        signal?.addEventListener('abort', onAbort, { once: true });
        if (!socket.send(encodeControl({ type: 'call', call, method, body })))
          fail(unavailable('there is no connection'));
      }),
    sendReverse: (frame) => socket.send(encodeStream('reverse', frame)),
    heard: () => {
      heardAt = performance.now();
    },
    leave,
    wireBytes: meter,
    close: () => {
      for (const call of [...calls.keys()]) take(call)?.reject(unavailable('the agent stops'));
      socket.close();
    },
  };
}

function unavailable(why: string): MillraceError {
  return new MillraceError('E_UNAVAILABLE', `the distribution node: ${why}`);
}
