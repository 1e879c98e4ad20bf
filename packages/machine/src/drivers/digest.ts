import type { Hash } from 'node:crypto';
import { type Bytes, copyBytes } from '@millrace/base';

/** The digest of what was hashed so far; the hash goes on. */
export function digestSoFar(hash: Hash): Bytes {
  return copyBytes(hash.copy().digest());
}
