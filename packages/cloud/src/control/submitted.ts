import type { Bytes } from '@millrace/base';
import type { Signed, Transaction } from '@millrace/protocol';
import type { UserActor } from '../node/policy.ts';

/** A verified transaction, who signed it, and the signer's credential as control holds it. */
export interface Submitted<T extends Transaction = Transaction> extends Signed<T> {
  readonly actor: UserActor;
  /** Empty for the administrator, who needs none. */
  readonly credential: Bytes;
}
