import { equalBytes, MillraceError } from '@millrace/base';
import { type AccountHead, follow } from './accounts.ts';
import {
  accountPrefix,
  decodeAccountKey,
  decodeIndex,
  encodeHead,
  eventIdPrefix,
  headKey,
  headPrefix,
  openingKey,
  openingPrefix,
  under,
} from './keys.ts';
import { decodeOpening, type LoggedEvent } from './opening.ts';
import { ProblemList } from './problems.ts';
import type { Replay } from './replay.ts';
import type { LedgerStore } from './store.ts';

/** The account at the current position of the table. */
interface Followed {
  readonly account: string;
  head: AccountHead | undefined;
  /** The chain is broken, or the replay has reported the problem. The rest is skipped. */
  broken: boolean;
}

/**
 * Follows every account's chain in the order of the look-up table, one account at a time, and compares its end with the
 * stored head. Then counts the tables: the replay has found every event in them, so extra records only show in their
 * length.
 * @returns the number of accounts
 */
export async function checkAccounts(store: LedgerStore, replay: Replay, problems: ProblemList): Promise<number> {
  const chains = new ProblemList();
  const heads = new ProblemList();
  let accounts = 0;
  let rows = 0;
  let current: Followed | undefined;
  const end = async () => {
    if (current === undefined) return;
    accounts += 1;
    const { account, head, broken } = current;
    const stored = await store.get(headKey(account));
    if (broken || head === undefined || (stored !== undefined && equalBytes(stored, encodeHead(head)))) return;
    const message = `the stored head of account ${account} is not its last event, entry ${head.index}`;
    heads.add('E_LEDGER_ENTRY', 'index', message, { index: head.index, account });
  };
  for await (const { key, value } of store.range(under(accountPrefix))) {
    rows += 1;
    const at = decodeAccountKey(key);
    if (at === undefined) continue;
    if (current?.account !== at.account) {
      await end();
      current = { account: at.account, head: undefined, broken: replay.unlisted.has(at.account) };
    }
    if (!current.broken) await followNext(store, current, at.sequence, value, chains);
  }
  await end();
  problems.addAll(chains);
  problems.addAll(replay.indexProblems);
  problems.addAll(heads);
  const tables = [
    { what: 'openings', expected: replay.found, count: await countOf(store, openingPrefix) },
    { what: 'event ids', expected: replay.opened, count: await countOf(store, eventIdPrefix) },
    { what: 'events of accounts', expected: replay.opened, count: rows },
    { what: 'accounts', expected: accounts, count: await countOf(store, headPrefix) },
  ];
  for (const { what, expected, count } of tables) {
    if (count <= expected) continue;
    problems.add('E_LEDGER_ENTRY', 'index', `the table of ${what} lists ${count}, the entries hold ${expected}`);
  }
  return accounts;
}

async function followNext(
  store: LedgerStore,
  current: Followed,
  sequence: number,
  value: Uint8Array,
  chains: ProblemList,
): Promise<void> {
  const index = decodeIndex(value);
  const logged = index === undefined ? undefined : await soundEvent(store, index);
  if (logged?.event.account !== current.account || logged.event.sequence !== sequence) {
    current.broken = true;
    return;
  }
  try {
    current.head = follow(current.head, logged);
  } catch (error) {
    if (!(error instanceof MillraceError)) throw error;
    current.broken = true;
    const where = { index: logged.index, account: current.account };
    chains.add('E_LEDGER_ENTRY', 'account', error.message, where);
  }
}

/** Undefined if the opening is missing or damaged. The replay reports that. */
async function soundEvent(store: LedgerStore, index: number): Promise<LoggedEvent | undefined> {
  const opening = await store.get(openingKey(index));
  if (opening === undefined) return undefined;
  try {
    return decodeOpening(opening, index);
  } catch (error) {
    if (error instanceof MillraceError && error.code === 'E_LEDGER_ENTRY') return undefined;
    throw error;
  }
}

async function countOf(store: LedgerStore, prefix: Uint8Array): Promise<number> {
  let count = 0;
  for await (const _ of store.range(under(prefix))) count += 1;
  return count;
}
