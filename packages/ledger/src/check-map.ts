import { equalBytes, utf8 } from '@millrace/base';
import { type AccountRecord, accountOf, indexOfEvent, readAccount } from './account-record.ts';
import { unlessDamaged } from './check-accounts.ts';
import { readEvent } from './draft.ts';
import { accountPrefix, mapPagePrefix, textOfKey, under } from './keys.ts';
import { decodePage, isBelow } from './map-page.ts';
import { MAP_ACCOUNT, readMapRoot, verifyAccountInMap } from './map-root.ts';
import { proveInMap } from './map-store.ts';
import { type MapValue, mapKey } from './map-tree.ts';
import type { ProblemList } from './problems.ts';
import type { Replay } from './replay.ts';
import type { LedgerStore } from './store.ts';

/**
 * Checks that the stored map has the root that was logged last, and that it holds exactly the accounts that the entries
 * before it hold, each at its newest event. Earlier roots cannot be checked: the store has the newest map only.
 */
export async function checkMap(store: LedgerStore, replay: Replay, problems: ProblemList): Promise<void> {
  const record = await unlessDamaged(() => readAccount(store, MAP_ACCOUNT));
  const logged = record && (await unlessDamaged(() => readEvent(store, record.head.index)));
  const root = logged && (await unlessDamaged(() => readMapRoot(logged)));
  const report = (message: string, account?: string) =>
    problems.add('E_LEDGER_ENTRY', 'map', message, account === undefined ? {} : { account });
  const leaves = await leavesIn(store);
  if (leaves === undefined) report('a page of the account map is damaged');
  if (logged === undefined || root === undefined) {
    if (leaves !== 0 && leaves !== undefined) report(`the account map has ${leaves} accounts, and no root is logged`);
    return;
  }
  let accounts = 0;
  for await (const { key, value } of store.range(under(accountPrefix))) {
    const account = textOfKey(key, accountPrefix);
    if (replay.unlisted.has(account)) continue;
    const stored = await unlessDamaged(() => accountOf(key, value));
    const newest = stored && (await unlessDamaged(() => newestBefore(store, stored, logged.index)));
    if (newest === undefined) continue;
    accounts += 1;
    const found = await unlessDamaged(() => proveInMap(store, mapKey(root.salt, utf8(account))));
    const listed =
      found?.leaf?.sequence === newest.sequence &&
      equalBytes(found.leaf.hash, newest.hash) &&
      verifyAccountInMap(root, account, newest, found.proof);
    if (!listed) report(`the account map does not have the newest event of ${account}`, account);
  }
  if (leaves !== undefined && leaves > accounts && replay.unlisted.size === 0)
    report(`the account map lists ${leaves} accounts, the entries hold ${accounts}`);
}

/** The account's last event before entry `index`; undefined if it began later. */
async function newestBefore(store: LedgerStore, record: AccountRecord, index: number): Promise<MapValue | undefined> {
  if (record.head.index < index) return record.head;
  for (let sequence = record.head.sequence - 1; sequence >= 0; sequence--) {
    const at = await indexOfEvent(store, record, sequence);
    if (at === undefined || at >= index) continue;
    return { sequence, hash: (await readEvent(store, at)).hash };
  }
  return undefined;
}

/** Number of accounts in the pages; undefined if a page is damaged. */
async function leavesIn(store: LedgerStore): Promise<number | undefined> {
  let leaves = 0;
  for await (const { value } of store.range(under(mapPagePrefix))) {
    const slots = await unlessDamaged(() => decodePage(value));
    if (slots === undefined) return undefined;
    for (const slot of slots) if (slot !== undefined && !isBelow(slot)) leaves += 1;
  }
  return leaves;
}
