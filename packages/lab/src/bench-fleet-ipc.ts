import type { Bytes } from '@millrace/base';
import type { NodeRole } from '@millrace/protocol';
import type { FleetSetup } from './bench-fleet-setup.ts';

/** Resource usage of a process of the fleet. */
export interface Usage {
  /** Processor time of all threads since the start, ms. */
  readonly cpuMs: number;
  /** Resident memory, bytes. */
  readonly rss: number;
}

/** A machine's call without its documents: only the points to which the session is sealed. */
export interface Home {
  readonly type: 'home';
  readonly machine: string;
  readonly key: Bytes;
  readonly ephemeral: Bytes;
}

/** Counts of a load process since the last `reset`. */
export interface Seen {
  readonly machines: number;
  /** Machines that have started to consume data. */
  readonly running: number;
  readonly frames: number;
  readonly keys: number;
  readonly reverse: number;
  readonly taken: number;
  /** Incorrect frames or keys. */
  readonly wrong: number;
  /** Machines whose buffer was empty when they needed a segment. */
  readonly starved: number;
  readonly lost: number;
  /** Time from the acknowledgement that requests a frame to the frame, ms. */
  readonly latency: Float64Array;
}

export type ToChild =
  | { readonly type: 'node'; readonly role: NodeRole; readonly fleet: FleetSetup }
  | { readonly type: 'load'; readonly fleet: FleetSetup; readonly host: string }
  | { readonly type: 'add'; readonly machines: number }
  | { readonly type: 'usage' }
  | { readonly type: 'reset' }
  | { readonly type: 'see' }
  | { readonly type: 'stop' }
  | Home;

export type FromChild =
  | { readonly type: 'ready' }
  | { readonly type: 'usage'; readonly usage: Usage }
  | { readonly type: 'seen'; readonly seen: Seen }
  | Home;

/** The child's end of the channel. One handler; answers are sent in order. */
export function serveParent(
  handle: (message: ToChild) => Promise<FromChild | undefined> | FromChild | undefined,
): void {
  process.on('message', (message: ToChild) => {
    if (message.type === 'usage') return tell({ type: 'usage', usage: usageNow() });
    if (message.type === 'stop') return process.exit(0);
    void Promise.resolve(handle(message)).then(
      (answer) => {
        if (answer !== undefined) tell(answer);
      },
      (error: unknown) => {
        process.stderr.write(`${String(error instanceof Error ? error.stack : error)}\n`);
        process.exit(1);
      },
    );
  });
  process.on('disconnect', () => process.exit(0));
}

export function tell(message: FromChild): void {
  process.send?.(message);
}

function usageNow(): Usage {
  const { user, system } = process.cpuUsage();
  return { cpuMs: (user + system) / 1_000, rss: process.memoryUsage.rss() };
}
