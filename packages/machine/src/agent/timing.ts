import type { BackoffOptions } from '@millrace/base';

/** Timeouts and intervals of the agent, milliseconds. */
export interface Timing {
  /** Timeout of a call to control. */
  readonly callMs: number;
  /** Maximum time that control may hold the call for work. */
  readonly waitMs: number;
  /** Timeout from the permit to the keys node's offer. Both proactive nodes poll. */
  readonly offerMs: number;
  /** Delays before a lost stream or call is retried. */
  readonly backoff: BackoffOptions;
  /** Buffered time needed to replace one session by another: permit, offer, first frame. */
  readonly changeMs: number;
  /** Interval between requests for a newer directory. */
  readonly directoryMs: number;
  /** If a distribution node has given nothing for this time, the agent turns to another one. */
  readonly quietMs: number;
}

export const defaultTiming: Timing = {
  callMs: 30_000,
  waitMs: 25_000,
  offerMs: 10_000,
  backoff: { firstMs: 500, mostMs: 5_000 },
  changeMs: 10_000,
  directoryMs: 300_000,
  quietMs: 20_000,
};
