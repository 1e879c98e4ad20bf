import { type Bytes, type Clock, type RandomSource, toHex } from '@millrace/base';
import type { Signer } from '@millrace/identity';
import { type Directory, signTransaction, type Transaction } from '@millrace/protocol';

/** How long a signed transaction may be under way. */
const VALID_MS = 10 * 60_000;
/** How long a print may wait for its machine to start, unless its holder says otherwise. */
const START_WITHIN_MS = 15 * 60_000;

type Common = 'id' | 'issued' | 'expires';
type Body<T> = T extends Transaction ? Omit<T, Common> : never;

export interface SignedTransaction {
  /** Its id, in hexadecimal: the name of the licence or print that it makes. */
  readonly id: string;
  readonly bytes: Bytes;
}

export interface SigningContext {
  readonly directory: Directory;
  readonly signer: Signer;
  readonly clock: Clock;
  readonly random: RandomSource;
}

/**
 * Adds id and times to a transaction and signs it for this installation.
 * @param validMs how long it may be under way; a print: how long it may wait to start
 * @param id where the body depends on it; a new one unless given
 */
export async function signNew(
  context: SigningContext,
  body: Body<Transaction>,
  id: Bytes = context.random(16),
  validMs = body.type === 'print.request' ? START_WITHIN_MS : VALID_MS,
): Promise<SignedTransaction> {
  const issued = context.clock.now();
  const document = {
    ...body,
    id,
    issued,
    expires: issued + validMs,
  } as Transaction;
  return { id: toHex(id), bytes: await signTransaction(context.signer, context.directory.installation, document) };
}
