import {
  type Bytes,
  type Clock,
  decodeCbor,
  encodeCbor,
  equalBytes,
  MillraceError,
  parse,
  sleep,
} from '@millrace/base';
import type { Collection, RecordStore } from '@millrace/stores';
import { z } from 'zod';

/** How long a lease lies without a renewal before another node takes it over, ms. */
export const DEFAULT_TAKEOVER_MS = 5_000;

const recordSchema = z.strictObject({
  /** Fencing token: one higher with each holder. */
  token: z.number().int().positive(),
  /** Id of the process that holds the lease; empty if it was given back. */
  holder: z.string(),
  /** Id of its node in the directory, or of its replica of the node. */
  node: z.string(),
  /** Raised by each renewal. */
  beat: z.number().int().nonnegative(),
  /** Without a renewal for this time, another node takes the lease over, ms: the holder's setting counts for all. */
  takeoverMs: z.number().int().positive().max(600_000),
});
type LeaseRecord = z.output<typeof recordSchema>;

/** Roles of which one process is active at a time. Each has a lease in its own keyspace. */
export type LeaseRole = 'control' | 'keys';

export interface Lease {
  /** Fencing token, higher than that of every earlier holder. */
  readonly token: number;
  /** Aborted when the lease has ended: another node has taken it over, or it was given back. */
  readonly lost: AbortSignal;
  /** Whether no other node can have taken it over. */
  readonly isCurrent: boolean;
  /**
   * Called before anything that only the holder may do.
   * @throws {MillraceError} E_FENCED if the lease has ended; E_UNAVAILABLE while a renewal is overdue
   */
  check(): void;
  /** Ends the lease. */
  end(why: string): void;
  /** Ends the lease, and lets another process take it at once. */
  giveBack(): Promise<void>;
}

export interface LeaseOptions {
  /** What the holder is: the lease is for one of the nodes, or replicas of a node, with this role. */
  readonly role: LeaseRole;
  /** Its store must not depend on the lease. */
  readonly records: RecordStore;
  /** Id of this process, unique. */
  readonly holder: string;
  /** Id of this node, or of this replica of it. */
  readonly node: string;
  readonly clock: Clock;
  /** Default: 5 s. The lease is renewed eight times as often, and used for three quarters of this time. */
  readonly takeoverMs?: number | undefined;
}

/**
 * Waits until this process holds the lease. No process compares its clock with that
 * of another: the holder counts from the moment before it sends a renewal; the others count from the moment after they
 * have seen a renewal, and longer.
 * @throws the signal's reason
 */
export async function acquireLease(options: LeaseOptions, signal: AbortSignal): Promise<Lease> {
  const { role, records, holder, node, clock, takeoverMs = DEFAULT_TAKEOVER_MS } = options;
  const collection = records.collection('lease');
  let seen: { readonly bytes: Uint8Array; readonly since: number } | undefined;
  for (;;) {
    signal.throwIfAborted();
    const bytes = await collection.get(role).catch(() => seen?.bytes); // cut off: look again
    const current = bytes && decode(bytes);
    if (bytes !== undefined && (seen === undefined || !equalBytes(bytes, seen.bytes)))
      seen = { bytes, since: clock.monotonic() };
    // `holder`: an earlier attempt was applied after all.
    const isFree = current === undefined || current.holder === '' || current.holder === holder;
    const patience = current?.takeoverMs ?? 0;
    const isStale = seen !== undefined && clock.monotonic() - seen.since >= patience;
    if (isFree || isStale) {
      const next: LeaseRecord = { token: (current?.token ?? 0) + 1, holder, node, beat: 0, takeoverMs };
      const sent = moment(clock);
      const record = { collection, role };
      if (await swap(record, bytes, next).catch(() => false)) return new HeldLease(record, next, sent, clock);
    }
    await sleep(Math.min(patience || takeoverMs, takeoverMs) / 32, signal);
  }
}

/** Whether this process holds the lease, or held it last. */
export async function isHeldBy(records: RecordStore, role: LeaseRole, holder: string): Promise<boolean> {
  const bytes = await records.collection('lease').get(role);
  return bytes !== undefined && decode(bytes).holder === holder;
}

/** Both clocks: one of them may stand still while the computer sleeps. */
interface Moment {
  readonly monotonic: number;
  readonly wall: number;
}
const moment = (clock: Clock): Moment => ({ monotonic: clock.monotonic(), wall: clock.now() });

interface Place {
  readonly collection: Collection;
  readonly role: LeaseRole;
}

class HeldLease implements Lease {
  readonly token: number;
  readonly #place: Place;
  readonly #clock: Clock;
  readonly #lost = new AbortController();
  readonly #renewing: Promise<void>;
  #record: LeaseRecord;
  /** When the last successful renewal was sent. */
  #renewed: Moment;

  constructor(place: Place, record: LeaseRecord, sent: Moment, clock: Clock) {
    this.token = record.token;
    this.#place = place;
    this.#record = record;
    this.#renewed = sent;
    this.#clock = clock;
    this.#renewing = this.#renew();
  }

  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  get isCurrent(): boolean {
    return !this.lost.aborted && this.#elapsed() < 0.75 * this.#record.takeoverMs;
  }

  check(): void {
    if (this.lost.aborted) throw this.lost.reason;
    if (this.isCurrent) return;
    const why = `the lease was not renewed for ${Math.round(this.#elapsed())} ms`;
    throw new MillraceError('E_UNAVAILABLE', `another ${this.#place.role} process may be active now: ${why}`);
  }

  end(why: string): void {
    if (this.lost.aborted) return;
    this.#lost.abort(
      new MillraceError(
        'E_FENCED',
        `this is no longer the active ${this.#place.role} process: ${why}; token ${this.token}`,
      ),
    );
  }

  async giveBack(): Promise<void> {
    this.end('it was given back');
    await this.#renewing;
    await swap(this.#place, encode(this.#record), { ...this.#record, holder: '', beat: 0 }).catch(() => false);
  }

  #elapsed(): number {
    const { monotonic, wall } = moment(this.#clock);
    return Math.max(monotonic - this.#renewed.monotonic, wall - this.#renewed.wall);
  }

  /**
   * A late renewal is as good as another: it succeeds only if nobody has changed the record since. So a process that was
   * slow keeps the lease, unless another has taken it.
   */
  async #renew(): Promise<void> {
    while (!this.lost.aborted) {
      await sleep(this.#record.takeoverMs / 8, this.lost).catch(() => undefined);
      if (this.lost.aborted) return;
      try {
        const sent = moment(this.#clock);
        const next = { ...this.#record, beat: this.#record.beat + 1 };
        if (!(await swap(this.#place, encode(this.#record), next))) return this.end('another node has taken over');
        this.#record = next;
        this.#renewed = sent;
      } catch {
        // The store does not answer: the lease is overdue until it does.
      }
    }
  }
}

/** @returns whether the record is `next` now. @throws {MillraceError} if that is not known */
async function swap(
  { collection, role }: Place,
  expected: Uint8Array | undefined,
  next: LeaseRecord,
): Promise<boolean> {
  const bytes = encode(next);
  if ((await collection.compareAndSwap(role, expected, bytes)) === 'applied') return true;
  const found = await collection.get(role);
  if (found !== undefined && equalBytes(found, bytes)) return true;
  if (found !== undefined && expected !== undefined && equalBytes(found, expected))
    throw new MillraceError('E_TIMEOUT', 'the lease was not written'); // an unknown outcome that changed nothing yet
  return false;
}

function encode(record: LeaseRecord): Bytes {
  return encodeCbor(record as never);
}

function decode(bytes: Uint8Array): LeaseRecord {
  return parse(recordSchema, decodeCbor(bytes, 'lease', 'E_STORE'), 'lease', 'E_STORE');
}
