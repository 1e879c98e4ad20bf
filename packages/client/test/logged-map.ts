import type { MapAnswer } from '@millrace/api';
import { equalBytes, systemRandom, toBase64, utf8 } from '@millrace/base';
import { type Ledger, type LoggedEvent, mapKey, readMapRoot } from '@millrace/ledger';
import { proveInMap, updateMap } from '@millrace/ledger/parts';
import { MemoryStore } from '@millrace/testkit/ledger/helpers';

// The map of accounts as control would log and prove it, for ledgers that tests write.

const SALT = systemRandom(32);

/** Every event of a ledger. */
export async function eventsOf(ledger: Ledger): Promise<LoggedEvent[]> {
  const all: LoggedEvent[] = [];
  for await (const logged of ledger.events(0)) all.push(logged);
  return all;
}

/** Control computes the map wrongly: without the accounts that it hides. */
export async function mapWithout(hides: (account: string) => boolean, accounts: readonly string[], ledger: Ledger) {
  const all = await eventsOf(ledger);
  const last = all.at(-1);
  const keyOf = (account: string) => mapKey(SALT, utf8(account));
  const mapOf = async (events: readonly LoggedEvent[]) => {
    const store = new MemoryStore();
    const newest = new Map(events.map(({ event, hash }) => [event.account, { sequence: event.sequence, hash }]));
    const leaves = [...newest].flatMap(([account, value]) =>
      hides(account) ? [] : [{ key: keyOf(account), ...value }],
    );
    const { root, writes } = await updateMap(store, leaves);
    await (await store.acquire()).append(writes);
    return { root, store };
  };
  let map = await mapOf(all.slice(0, -1));
  let index = last?.index ?? 0;
  if (last?.event.type !== 'mapped' || !equalBytes(readMapRoot(last).root, map.root)) {
    map = await mapOf(all);
    const body = { root: map.root, salt: SALT };
    ({ index } = await ledger.append({
      ...{ account: 'map', type: 'mapped', actor: ledger.origin, body },
      eventId: `map/${all.length}`,
    }));
  }
  const proofs: MapAnswer['proofs'] = [];
  for (const account of accounts) {
    const { proof } = await proveInMap(map.store, keyOf(account));
    const { siblings, other } = proof;
    proofs.push({
      siblings: siblings.map(toBase64),
      ...(other && { other: { ...other, key: toBase64(other.key), hash: toBase64(other.hash) } }),
    });
  }
  return { index, proofs };
}
