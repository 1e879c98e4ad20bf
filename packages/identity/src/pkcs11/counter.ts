import { ck } from './binding.ts';
import { attributeOf, findTwo, type TokenSession, tokenError } from './session.ts';

// The monotonic counter of a token: a hardware feature object (PKCS #11 2.40, 4.3). Whoever reads its value increases
// it; the standard does not say by how much. Only one that goes up by one shows how often it was read.

/** Reads the counter, and so increases it. @throws {MillraceError} E_HSM */
export function readCounter(opened: TokenSession): number {
  const [counter, ...others] = findTwo(opened, [
    { type: ck.CKA_CLASS, value: ck.CKO_HW_FEATURE },
    { type: ck.CKA_HW_FEATURE_TYPE, value: ck.CKH_MONOTONIC_COUNTER },
  ]);
  if (counter === undefined || others.length > 0) throw tokenError('the token has no monotonic counter');
  const bytes = attributeOf(opened.cryptoki, opened.session, counter, ck.CKA_VALUE);
  const value = Number(`0x${Buffer.from(bytes).toString('hex') || '0'}`);
  if (!Number.isSafeInteger(value)) throw tokenError('the token’s monotonic counter is out of range');
  return value;
}

/** @returns the counter’s value, after some reads; undefined if there is none, or one that skips numbers */
export function steadyCounter(opened: TokenSession): number | undefined {
  try {
    const [first, second, third] = [readCounter(opened), readCounter(opened), readCounter(opened)];
    return second === first + 1 && third === second + 1 ? third : undefined;
  } catch {
    return undefined; // most tokens have none, and differ in what they say to the question
  }
}
