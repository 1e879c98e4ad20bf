import type { Bytes } from '@millrace/base';
import type { NodeRole } from '@millrace/protocol';
import type { FleetSetup } from './bench-fleet-setup.ts';

/** What a process of the fleet has used and holds. */
export interface Usage {
  /** Processor time since it began, ms, all threads. */
  readonly cpuMs: number;
  /** Resident memory, bytes. */
  readonly rss: number;
}

/** A call home without its documents: the points that the session is sealed to. */
export interface Home {
  readonly type: 'home';
  readonly machine: string;
  readonly key: Bytes;
  readonly ephemeral: Bytes;
}

/** What a load process has seen since the last `reset`. */
export interface Seen {
  readonly machines: number;
  /** Machines that have begun to draw. */
  readonly running: number;
  readonly frames: number;
  readonly keys: number;
  readonly reverse: number;
  readonly taken: number;
  /** Frames or keys that are not what they should be. */
  readonly wrong: number;
  /** Machines whose buffer was empty when they wanted a segment. */
  readonly starved: number;
  readonly lost: number;
  /** From the acknowledgement that asks for a frame to the frame, ms. */
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

/** The child's side: one handler, answers in order. */
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
