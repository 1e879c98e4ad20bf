import { MillraceError } from '@millrace/base';

/** @throws {MillraceError} E_ANCHOR */
export function jsonOf(bytes: Uint8Array, what: string): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new MillraceError('E_ANCHOR', `${what} is not JSON`, { cause });
  }
}
