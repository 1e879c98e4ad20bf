import { compareBytes, MillraceError } from '@millrace/base';
import type { Key, Range, Write } from './port.ts';

/** LMDB's default limit. Every engine enforces it, so that data can move between engines. */
export const MAX_KEY_BYTES = 511;

export function checkKey(key: Key): void {
  if (key.length < 1 || key.length > MAX_KEY_BYTES) {
    throw new MillraceError('E_INPUT', `a key has 1 to ${MAX_KEY_BYTES} bytes, not ${key.length}`, {
      data: { length: key.length },
    });
  }
}

export function checkWrites(writes: readonly Write[]): void {
  for (const write of writes) checkKey('put' in write ? write.put : write.delete);
}

export function inRange(key: Key, range: Range): boolean {
  return (
    (range.gte === undefined || compareBytes(key, range.gte) >= 0) &&
    (range.gt === undefined || compareBytes(key, range.gt) > 0) &&
    (range.lte === undefined || compareBytes(key, range.lte) <= 0) &&
    (range.lt === undefined || compareBytes(key, range.lt) < 0)
  );
}

export function checkRange(range: Range): void {
  if (range.gte !== undefined && range.gt !== undefined)
    throw new MillraceError('E_INPUT', 'gte and gt exclude each other');
  if (range.lte !== undefined && range.lt !== undefined)
    throw new MillraceError('E_INPUT', 'lte and lt exclude each other');
}

/** Whether both values have the same bytes, or both are absent. */
export function sameValue(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  return a === undefined || b === undefined ? a === b : compareBytes(a, b) === 0;
}

/** Options of `range` for all keys that start with `prefix`. */
export function prefixRange(prefix: Uint8Array): { gte: Uint8Array; lt?: Uint8Array } {
  const end = new Uint8Array(prefix);
  for (let i = end.length - 1; i >= 0; i--) {
    const byte = end[i] ?? 0;
    if (byte < 255) {
      end[i] = byte + 1;
      return { gte: prefix, lt: end.subarray(0, i + 1) };
    }
  }
  return { gte: prefix };
}
