import { type Bytes, MillraceError, utf8 } from '@millrace/base';

const MAX_KEY = 200;
const MAX_GROUP = 150;
const MAX_LIMIT = 1_000;
const NAME = /^[a-z0-9-]{1,40}$/;
const ORDER_BYTES = 8;

/** Names of collections and indexes. @throws {MillraceError} E_INPUT, as does every check of this file */
export function checkNames(names: readonly string[]): void {
  for (const name of names)
    if (!NAME.test(name)) throw new MillraceError('E_INPUT', `${name} is not a name of a collection or an index`);
}

export function recordKey(key: string): Bytes {
  const bytes = utf8(key);
  if (bytes.length < 1 || bytes.length > MAX_KEY)
    throw new MillraceError('E_INPUT', `a record's key has 1 to ${MAX_KEY} bytes, not ${bytes.length}`);
  return bytes;
}

export function groupKey(group: string): Bytes {
  const bytes = utf8(group);
  if (bytes.length < 1 || bytes.length > MAX_GROUP)
    throw new MillraceError('E_INPUT', `a group of an index has 1 to ${MAX_GROUP} bytes, not ${bytes.length}`);
  return bytes;
}

export function checkOrder(order: number): void {
  if (!Number.isSafeInteger(order) || order < 0)
    throw new MillraceError('E_INPUT', `an order in an index is a whole number, not ${order}`);
}

export function checkLimit(limit: number): void {
  if (!Number.isInteger(limit) || limit < 1 || limit > MAX_LIMIT)
    throw new MillraceError('E_INPUT', `a page has 1 to ${MAX_LIMIT} records, not ${limit}`);
}

/** A cursor of a list in key order is a key; one of an index is order[8] ‖ key. */
export function checkCursor(after: Uint8Array | undefined, kind: 'key' | 'index'): void {
  if (after === undefined) return;
  const before = kind === 'index' ? ORDER_BYTES : 0;
  if (after.length <= before || after.length > before + MAX_KEY)
    throw new MillraceError('E_INPUT', 'the cursor is not one of this list');
}

export function noIndex(collection: string, index: string): MillraceError {
  return new MillraceError('E_INPUT', `collection ${collection} has no index ${index}, or no group is named`);
}

/** The text of a record's key. */
export function keyText(bytes: Uint8Array): string {
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes);
}
