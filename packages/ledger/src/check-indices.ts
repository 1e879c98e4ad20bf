import { equalBytes } from '@millrace/base';
import {
  accountKey,
  accountPrefix,
  decodeIndex,
  encodeHead,
  eventIdKey,
  eventIdPrefix,
  headKey,
  headPrefix,
  openingPrefix,
  under,
} from './keys.ts';
import type { ProblemList } from './problems.ts';
import type { Replay } from './replay.ts';
import type { LedgerStore } from './store.ts';

/** Checks that the indexes (event by id, event by account, head of account) match the entries exactly. */
export async function checkIndices(store: LedgerStore, replay: Replay, problems: ProblemList): Promise<void> {
  for (const { index, id, account, sequence } of replay.events) {
    if (!isIndex(await store.get(eventIdKey(id)), index)) {
      problems.add('E_LEDGER_ENTRY', 'index', `the event id ${id} does not refer to entry ${index}`, { index });
    }
    if (!isIndex(await store.get(accountKey(account, sequence)), index)) {
      const message = `event ${sequence} of account ${account} does not refer to entry ${index}`;
      problems.add('E_LEDGER_ENTRY', 'index', message, { index, account });
    }
  }
  for (const [account, head] of replay.heads) {
    const stored = await store.get(headKey(account));
    if (replay.broken.has(account) || (stored !== undefined && equalBytes(stored, encodeHead(head)))) continue;
    const message = `the stored head of account ${account} is not its last event, entry ${head.index}`;
    problems.add('E_LEDGER_ENTRY', 'index', message, { index: head.index, account });
  }
  const tables = [
    { what: 'openings', prefix: openingPrefix, expected: replay.found },
    { what: 'event ids', prefix: eventIdPrefix, expected: replay.events.length },
    { what: 'events of accounts', prefix: accountPrefix, expected: replay.events.length },
    { what: 'accounts', prefix: headPrefix, expected: new Set([...replay.heads.keys(), ...replay.broken]).size },
  ];
  for (const { what, prefix, expected } of tables) {
    let count = 0;
    for await (const _ of store.range(under(prefix))) count += 1;
    if (count <= expected) continue;
    problems.add('E_LEDGER_ENTRY', 'index', `the table of ${what} lists ${count}, the entries hold ${expected}`);
  }
}

function isIndex(bytes: Uint8Array | undefined, index: number): boolean {
  return bytes !== undefined && decodeIndex(bytes) === index;
}
