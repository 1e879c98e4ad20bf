import { type Bytes, type MillraceError, mapAhead, type RandomSource, toHex, utf8 } from '@millrace/base';
import { readAccount } from './account-record.ts';
import type { AccountHead } from './accounts.ts';
import { openRecord, readEvent } from './draft.ts';
import type { EventRequest } from './event.ts';
import { decodeIndex, entryKey, entryPrefix } from './keys.ts';
import { MAP_ACCOUNT, type MapRoot, mapRequest, readMapRoot } from './map-root.ts';
import { proveInMap, updateMap } from './map-store.ts';
import { MAP_SALT_LENGTH, type MapProof, type MapValue, mapKey } from './map-tree.ts';
import type { LoggedEvent } from './opening.ts';
import { isDamage } from './problems.ts';
import type { LedgerStore, StoreWrite } from './store.ts';

/** Reads in flight for proofs: in Cassandra, each takes some milliseconds. */
const READS_AHEAD = 32;

/** Proof of presence or absence, with what the map has of the account: undefined if it is absent. */
export interface AccountProof extends MapProof {
  readonly newest: MapValue | undefined;
}

/** A logged root, with proofs for accounts in that map. */
export interface MapProofs {
  readonly logged: LoggedEvent;
  readonly proofs: readonly AccountProof[];
}

/** The map of a ledger while it is open: the newest logged root, and the accounts that changed since. */
export class AccountMap {
  readonly #store: LedgerStore;
  readonly #changed = new Map<string, MapValue>();
  #logged: LoggedEvent | undefined;
  /** Why the accounts that changed are not known. */
  #damage: MillraceError | undefined;

  private constructor(store: LedgerStore) {
    this.#store = store;
  }

  /**
   * Reads the newest logged root, and the events of the `size` entries that it does not cover. Damage of the log is
   * reported when the map is to be logged: a ledger that can be opened without a map can be opened with one.
   */
  static async load(store: LedgerStore, size: number): Promise<AccountMap> {
    const map = new AccountMap(store);
    try {
      const record = await readAccount(store, MAP_ACCOUNT);
      map.#logged = record && (await readEvent(store, record.head.index));
      const range = { gte: entryKey(record?.head.index ?? 0), lt: entryKey(size) };
      for await (const { key, value } of store.range(range))
        map.#take(openRecord(value, decodeIndex(key.subarray(entryPrefix.length)) ?? 0));
    } catch (error) {
      if (!isDamage(error)) throw error;
      map.#damage = error;
    }
    return map;
  }

  /** Number of accounts that changed since the root was logged, without the map's own. */
  get changes(): number {
    if (this.#damage !== undefined) return 0;
    return this.#changed.size - (this.#changed.has(MAP_ACCOUNT) ? 1 : 0);
  }

  /**
   * The newest logged root, if no account has changed since.
   * @throws {MillraceError} E_LEDGER_ENTRY, E_LEDGER_TRUNCATED if the log is damaged
   */
  current(): LoggedEvent | undefined {
    if (this.#damage !== undefined) throw this.#damage;
    return this.changes === 0 ? this.#logged : undefined;
  }

  /** Takes accounts whose newest events are durable. */
  append(heads: Iterable<AccountHead>): void {
    if (this.#damage !== undefined) return;
    for (const { account, sequence, hash } of heads) this.#changed.set(account, { sequence, hash });
  }

  #take({ event, hash }: LoggedEvent): void {
    this.#changed.set(event.account, { sequence: event.sequence, hash });
  }

  /** The event that logs the new root, and the writes of the map that belong into its batch. */
  async update(
    size: number,
    actor: string,
    random: RandomSource,
  ): Promise<{ readonly request: EventRequest; readonly writes: readonly StoreWrite[] }> {
    const salt = this.#logged === undefined ? random(MAP_SALT_LENGTH) : readMapRoot(this.#logged).salt;
    const leaves = [...this.#changed].map(([account, value]) => ({ key: keyOf(salt, account), ...value }));
    const { root, writes } = await updateMap(this.#store, leaves);
    return { request: mapRequest(size, { root, salt }, actor), writes };
  }

  /** The batch of `update` is durable. */
  updated(logged: LoggedEvent): void {
    this.#changed.clear();
    this.#logged = logged;
    this.#take(logged);
  }

  /** @throws {MillraceError} E_LEDGER_ENTRY if a page is missing or damaged */
  async prove(accounts: readonly string[]): Promise<MapProofs | undefined> {
    if (this.#logged === undefined) return undefined;
    const { salt }: MapRoot = readMapRoot(this.#logged);
    const proofs: AccountProof[] = [];
    const pages = memoGet(this.#store); // most accounts share the upper pages
    const prove = async (account: string): Promise<AccountProof> => {
      const { leaf: newest, proof } = await proveInMap(pages, keyOf(salt, account));
      return { ...proof, newest };
    };
    for await (const proof of mapAhead(accounts, READS_AHEAD, prove)) proofs.push(proof);
    return { logged: this.#logged, proofs };
  }
}

/** Reads each key once. */
function memoGet(store: Pick<LedgerStore, 'get'>): Pick<LedgerStore, 'get'> {
  const read = new Map<string, Promise<Uint8Array | undefined>>();
  return {
    get: (key: Uint8Array) => {
      const name = toHex(key);
      const value = read.get(name) ?? store.get(key);
      read.set(name, value);
      return value;
    },
  };
}

function keyOf(salt: Bytes, account: string): Bytes {
  return mapKey(salt, utf8(account));
}
