import type { RandomSource } from '@millrace/base';
import type { Log } from '@millrace/stores';
import type { Slots } from './slots.ts';
import type { KeyWrapper } from './wrapper.ts';

export interface PlaybookOptions {
  /** Used only by the playbook. */
  readonly log: Log;
  readonly epochSlots: Slots;
  readonly designSlots: Slots;
  readonly wrapper: KeyWrapper;
  readonly random?: RandomSource;
  /** Percent of real cells, 0 to 100; default 50. A changed value applies from now on. */
  readonly density?: number;
  /** Minimum number of decoys; default 0. */
  readonly minimumDecoys?: number;
}
