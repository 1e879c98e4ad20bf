import { connect, createServer, type Socket } from 'node:net';
import { sleep } from '@millrace/base';
import type { Address } from '@millrace/protocol';

/** A TCP proxy that counts bytes, including TLS records, and can emulate a bad network. */
export interface CountingProxy {
  readonly address: Address;
  /** Bytes towards the node, and bytes from it. */
  readonly up: number;
  readonly down: number;
  /** Cuts all open connections. */
  cut(): void;
  /**
   * `refused`: connections are cut, and new ones are closed at once. `silent`: no data passes and no close is
   * forwarded, like a router that lost its state. When the network is `good` again, connections made meanwhile work;
   * earlier ones never do.
   */
  become(network: 'good' | 'refused' | 'silent'): void;
  close(): Promise<void>;
}

/** TCP over a long and lossy path: every chunk is delayed, retransmitted chunks longer. The order is kept. */
export interface Lag {
  readonly delayMs: number;
  /** Uniform deviation from the delay, plus or minus. */
  readonly jitterMs: number;
  /** Share of the chunks that are retransmitted. */
  readonly lost: number;
  readonly againMs: number;
}

export interface ProxyOptions {
  /** Listening address; 127.0.0.1 by default. */
  readonly host?: string;
  /** Delay in each direction. */
  readonly lag?: Lag;
}

interface Pair {
  readonly inner: Socket;
  readonly outer: Socket;
  /** Stops all data. */
  dead: boolean;
}

export async function createCountingProxy(target: Address, options: ProxyOptions = {}): Promise<CountingProxy> {
  const { host = '127.0.0.1', lag } = options;
  const counts = { up: 0, down: 0 };
  const open = new Set<Pair>();
  const waiting = new Set<Pair>();
  let network: 'good' | 'refused' | 'silent' = 'good';
  const begin = (pair: Pair) => {
    const { inner, outer } = pair;
    const [toOuter, toInner] = [writer(outer, lag), writer(inner, lag)];
    inner.on('data', (chunk: Buffer) => {
      if (pair.dead) return;
      counts.up += chunk.length;
      toOuter(chunk);
    });
    outer.on('data', (chunk: Buffer) => {
      if (pair.dead) return;
      counts.down += chunk.length;
      toInner(chunk);
    });
  };
  const server = createServer((inner) => {
    if (network === 'refused') return void inner.destroy();
    const outer = connect(target.port, target.host);
    const pair: Pair = { inner, outer, dead: false };
    open.add(pair);
    for (const socket of [inner, outer]) {
      socket.setNoDelay(true);
      socket.on('close', () => {
        open.delete(pair);
        waiting.delete(pair);
        inner.destroy();
        outer.destroy();
      });
      socket.on('error', () => undefined); // 'close' follows
    }
    if (network === 'silent') waiting.add(pair);
    else begin(pair);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, host, resolve);
  });
  const bound = server.address();
  if (bound === null || typeof bound === 'string') throw new Error('no address');
  const cut = () => {
    for (const { inner } of open) inner.destroy();
  };
  return {
    address: { host, port: bound.port },
    get up() {
      return counts.up;
    },
    get down() {
      return counts.down;
    },
    cut,
    become: (next) => {
      network = next;
      if (next === 'refused') cut();
      if (next === 'silent') for (const pair of open) pair.dead = true;
      if (next !== 'good') return;
      for (const pair of waiting) begin(pair);
      waiting.clear();
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        cut();
      }),
  };
}

function writer(socket: Socket, lag: Lag | undefined): (chunk: Buffer) => void {
  if (lag === undefined) return (chunk) => void socket.write(chunk);
  const { delayMs, jitterMs, lost, againMs } = lag;
  let last = 0;
  let order: Promise<void> = Promise.resolve();
  return (chunk) => {
    const late = delayMs + jitterMs * (2 * Math.random() - 1) + (Math.random() < lost ? againMs : 0);
    last = Math.max(last, performance.now() + late);
    const due = last;
    order = order.then(() => sleep(Math.max(0, due - performance.now()))).then(() => void socket.write(chunk));
  };
}
