import { equalBytes } from '@millrace/base';
import { entryPrefix, under } from './keys.ts';
import { decodeRecord } from './opening.ts';
import type { LedgerStore } from './store.ts';

/** Whether the log in `newer` begins with every entry of the one in `older`. Compares the stored entries only. */
export async function extendsLedger(
  older: Pick<LedgerStore, 'range'>,
  newer: Pick<LedgerStore, 'get'>,
): Promise<boolean> {
  for await (const { key, value } of older.range(under(entryPrefix))) {
    const same = await newer.get(key);
    if (same === undefined || !equalBytes(decodeRecord(same).entry, decodeRecord(value).entry)) return false;
  }
  return true;
}
