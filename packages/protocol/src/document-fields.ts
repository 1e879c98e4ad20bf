import { bytesOf, hexOf } from '@millrace/base';
import { z } from 'zod';

/** Fields that every signed document has. Times are milliseconds since 1970 on the signer's clock. */
export const common = {
  /** Transaction id and nonce: 16 random bytes; a second document with the same id is refused. */
  id: bytesOf(16),
  issued: z.number().int().nonnegative(),
  expires: z.number().int().nonnegative(),
};

export const identifier = hexOf(16);
