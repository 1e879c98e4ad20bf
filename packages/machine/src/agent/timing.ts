import type { BackoffOptions } from '@millrace/base';

/** Every wait of the agent, milliseconds. */
export interface Timing {
  /** A call to control without an answer. */
  readonly callMs: number;
  /** How long control may hold the call that asks for work. */
  readonly waitMs: number;
  /** From the permit to the keys node's offer: both proactive nodes poll. */
  readonly offerMs: number;
  /** Delays before a lost stream or call is tried again. */
  readonly backoff: BackoffOptions;
  /** What the machine needs in its buffer while one session is replaced by another: permit, offer, first frame. */
  readonly changeMs: number;
  /** How often distribution is asked for a newer directory. */
  readonly directoryMs: number;
}

export const defaultTiming: Timing = {
  callMs: 30_000,
  waitMs: 25_000,
  offerMs: 10_000,
  backoff: { firstMs: 500, mostMs: 5_000 },
  changeMs: 10_000,
  directoryMs: 300_000,
};
