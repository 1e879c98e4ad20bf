import { hexOf } from '@millrace/base';
import { z } from 'zod';

/** Identifiers: 16 bytes in lower-case hexadecimal. */
export const id = hexOf(16);
/** Ids of nodes in the directory. */
export const nodeId = z.string().regex(/^[a-z][a-z0-9-]{0,31}$/, { error: 'expected the id of a node' });
export const uint = z.int().nonnegative();
export const base64 = z.string().meta({ format: 'byte' });
/** Over whatever buffer when it is sent. */
export const bytesField = z.instanceof(Uint8Array) as unknown as z.ZodType<Uint8Array<ArrayBuffer>, Uint8Array>;

export const byId = z.strictObject({ id });

/** Milliseconds since 1970. */
export const time = uint;

/** Why something is not as it should be: one of our codes, and what was wrong. */
export const failure = { code: z.string().optional(), reason: z.string().optional() };

export const DEFAULT_LIMIT = 50;
export const MAX_LIMIT = 200;

/** Of lists: how many, and from where on. */
export const pageQuery = z.strictObject({
  limit: z.coerce.number<number>().int().min(1).max(MAX_LIMIT).default(DEFAULT_LIMIT),
  cursor: z.string().min(1).max(300).optional().describe('`next` of the page before'),
});
export type PageQuery = z.output<typeof pageQuery>;

/** One page of a list; more of it follow while there is `next`. A page may be empty and have a next one. */
export function pageOf<S extends z.ZodType>(item: S) {
  return z.object({ items: z.array(item), next: z.string().optional() });
}

export interface Page<T> {
  readonly items: T[];
  readonly next?: string | undefined;
}
