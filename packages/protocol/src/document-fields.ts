import { bytesOf, hexOf } from '@millrace/base';
import { z } from 'zod';

/** Fields of every signed document. Times are milliseconds since 1970 by the signer's clock. */
export const common = {
  /** Transaction id and nonce: 16 random bytes. A second document with the same id is refused. */
  id: bytesOf(16),
  issued: z.number().int().nonnegative(),
  expires: z.number().int().nonnegative(),
};

export const identifier = hexOf(16);

/** Kind of a machine: the name of its driver. Only the machines know the valid kinds. */
export const machineKind = z
  .string()
  .regex(/^[a-z][a-z0-9-]{0,31}$/, { error: 'expected the name of a kind of machine' });

export const materialName = z.string().min(1).max(64);
