import type { Hash } from 'node:crypto';
import { type Bytes, copyBytes } from '@millrace/base';

/** The digest of the input so far. The hash stays usable. */
export function digestSoFar(hash: Hash): Bytes {
  return copyBytes(hash.copy().digest());
}
