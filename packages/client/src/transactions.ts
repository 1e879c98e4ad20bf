import { type Bytes, type Clock, type RandomSource, toHex } from '@millrace/base';
import type { Signer } from '@millrace/identity';
import { type Directory, signTransaction, type Transaction } from '@millrace/protocol';

/** Validity of a signed transaction, ms. */
const VALID_MS = 10 * 60_000;
/** Default time in which a print must start on its machine, ms. */
const START_WITHIN_MS = 15 * 60_000;

type Common = 'id' | 'issued' | 'expires';
type Body<T> = T extends Transaction ? Omit<T, Common> : never;

export interface SignedTransaction {
  /** Id of the transaction, hexadecimal. It is also the id of the licence or print that it creates. */
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
 * @param validMs validity; for a print, the time in which it must start
 * @param id if the body depends on it; default: a new one
 */
export async function signNew(
  context: SigningContext,
  body: Body<Transaction>,
  id: Bytes = context.random(16),
  validMs = body.type === 'print.request' || body.type === 'visit.request' || body.type === 'rehearsal.request'
    ? START_WITHIN_MS
    : VALID_MS,
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
