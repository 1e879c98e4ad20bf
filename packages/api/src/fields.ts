import { hexOf } from '@millrace/base';
import { z } from 'zod';

/** Identifiers: 16 bytes in lower-case hexadecimal. */
export const id = hexOf(16);
/** Node ids in the directory. */
export const nodeId = z.string().regex(/^[a-z][a-z0-9-]{0,31}$/, { error: 'expected the id of a node' });
export const uint = z.int().nonnegative();
export const base64 = z.string().meta({ format: 'byte' });
/** May be backed by any buffer when sent. */
export const bytesField = z.instanceof(Uint8Array) as unknown as z.ZodType<Uint8Array<ArrayBuffer>, Uint8Array>;

export const byId = z.strictObject({ id });

/** A user's key, and the person and organisation that control has verified for it. */
export const signer = z.object({
  key: id,
  name: z.string().optional().describe('the person; absent for a key that control does not know'),
  organisation: z.object({ organisation: id, name: z.string() }).optional(),
});
export type SignerView = z.output<typeof signer>;

/** An owner or holder: an organisation, or a key without one. */
export const party = id.describe('identifier of the organisation, or key name');

/** Milliseconds since 1970. */
export const time = uint;

/** Cause of a problem: one of the error codes, and a description. */
export const failure = { code: z.string().optional(), reason: z.string().optional() };

export const DEFAULT_LIMIT = 50;
export const MAX_LIMIT = 200;

/** Query of lists: maximum number of items, and where to start. */
export const pageQuery = z.strictObject({
  limit: z.coerce.number<number>().int().min(1).max(MAX_LIMIT).default(DEFAULT_LIMIT),
  cursor: z.string().min(1).max(300).optional().describe('`next` of the page before'),
});
export type PageQuery = z.output<typeof pageQuery>;

/** One page of a list. If `next` is present, more pages follow. A page may be empty and still have `next`. */
export function pageOf<S extends z.ZodType>(item: S) {
  return z.object({ items: z.array(item), next: z.string().optional() });
}

export interface Page<T> {
  readonly items: T[];
  readonly next?: string | undefined;
}
