import { equalBytes, MillraceError } from '@millrace/base';
import { type AccountRecord, accountOf, BLOCK_EVENTS, encodeAccount, indexOfEvent } from './account-record.ts';
import { type AccountHead, follow } from './accounts.ts';
import { readEvent } from './draft.ts';
import { accountPrefix, eventIdPrefix, sequencePrefix, textOfKey, under } from './keys.ts';
import { isDamage, ProblemList } from './problems.ts';
import type { Replay } from './replay.ts';
import type { LedgerStore } from './store.ts';

/**
 * Follows every account's chain, one account at a time, and compares its end with the stored head. Then counts the
 * tables: the replay has found every event in them, so extra records only show in their length.
 * @returns the number of accounts
 */
export async function checkAccounts(store: LedgerStore, replay: Replay, problems: ProblemList): Promise<number> {
  const chains = new ProblemList();
  const heads = new ProblemList();
  let records = 0;
  let blocks = 0;
  for await (const { key, value } of store.range(under(accountPrefix))) {
    records += 1;
    const account = textOfKey(key, accountPrefix);
    // The replay has reported accounts whose records do not list their events.
    const record = replay.unlisted.has(account) ? undefined : await unlessDamaged(() => accountOf(key, value));
    if (record === undefined) continue;
    blocks += Math.floor(record.head.sequence / BLOCK_EVENTS);
    const head = await followChain(store, record, replay.found, { chains, heads });
    if (head === undefined || equalBytes(value, encodeAccount({ head, recent: record.recent }))) continue;
    const message = `the stored head of account ${account} is not its last event, entry ${head.index}`;
    heads.add('E_LEDGER_ENTRY', 'index', message, { index: head.index, account });
  }
  problems.addAll(chains);
  problems.addAll(replay.indexProblems);
  problems.addAll(heads);
  const tables = [
    { what: 'event ids', expected: replay.opened, count: await countOf(store, eventIdPrefix) },
    { what: 'accounts', expected: replay.accounts, count: records },
    {
      what: 'full blocks of events',
      expected: replay.unlisted.size > 0 ? Number.POSITIVE_INFINITY : blocks,
      count: await countOf(store, sequencePrefix),
    },
  ];
  for (const { what, expected, count } of tables) {
    if (count <= expected) continue;
    problems.add('E_LEDGER_ENTRY', 'index', `the table of ${what} lists ${count}, the entries hold ${expected}`);
  }
  return replay.accounts;
}

/** The account after its last listed event; undefined if the chain is broken. */
async function followChain(
  store: LedgerStore,
  record: AccountRecord,
  entries: number,
  { chains, heads }: { readonly chains: ProblemList; readonly heads: ProblemList },
): Promise<AccountHead | undefined> {
  const { account, sequence: last } = record.head;
  let head: AccountHead | undefined;
  for (let sequence = 0; sequence <= last; sequence++) {
    const index = await indexOfEvent(store, record, sequence);
    const logged = index === undefined ? undefined : await unlessDamaged(() => readEvent(store, index));
    // The replay has reported entries with missing or damaged openings.
    if (logged === undefined && index !== undefined && index < entries) return undefined;
    if (logged?.event.account !== account || logged.event.sequence !== sequence) {
      const message = `the stored head of account ${account} lists an event ${sequence} that no entry holds`;
      heads.add('E_LEDGER_ENTRY', 'index', message, { account });
      return undefined;
    }
    try {
      head = follow(head, logged);
    } catch (error) {
      if (!(error instanceof MillraceError)) throw error;
      chains.add('E_LEDGER_ENTRY', 'account', error.message, { index: logged.index, account });
      return undefined;
    }
  }
  return head;
}

/** Undefined if what is read is missing or damaged. */
export async function unlessDamaged<T>(read: () => T | Promise<T>): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    if (isDamage(error)) return undefined;
    throw error;
  }
}

async function countOf(store: LedgerStore, prefix: Uint8Array): Promise<number> {
  let count = 0;
  for await (const _ of store.range(under(prefix))) count += 1;
  return count;
}
