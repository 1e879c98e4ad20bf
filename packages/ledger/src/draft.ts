import { type Bytes, equalBytes, MillraceError } from '@millrace/base';
import { AccountDraft, decodeAccount } from './account-record.ts';
import { type AccountHead, nextState } from './accounts.ts';
import { EVENT_VERSION, type EventRequest, encodeEvent, encodeRequested, type LedgerEvent } from './event.ts';
import { EventEncoder } from './event-encoding.ts';
import { accountKey, decodeIndex, encodeIndex, entryKey, eventIdKey, INDEX_BYTES, requireIndex } from './keys.ts';
import { commitTo, decodeOpening, decodeRecord, ENTRY_LENGTH, type LoggedEvent, SALT_LENGTH } from './opening.ts';
import { Slab } from './slab.ts';
import type { LedgerStore, StoreWrite } from './store.ts';
import { HASH_LENGTH, leafHash } from './tree.ts';

/** Collects the events of one batch and checks them against the store and against each other. Writes nothing. */
export class Draft {
  readonly #size: number;
  readonly #stored: Stored;
  readonly #salts: Bytes;
  readonly #encoder = new EventEncoder();
  readonly #slab = new Slab();
  readonly #events: LoggedEvent[] = [];
  /** Of each event: entry and opening, as they are written. */
  readonly #records: Bytes[] = [];
  readonly #ids = new Map<string, LoggedEvent>();
  readonly #accounts = new Map<string, AccountDraft>();

  private constructor(size: number, stored: Stored, salts: Bytes) {
    this.#size = size;
    this.#stored = stored;
    this.#salts = salts;
  }

  /**
   * Reads what the requests of a batch refer to. Damaged records are reported by `add`, so that they only affect their
   * own requests.
   * @param size number of entries in the log before this batch
   * @param salts 32 random bytes for each request
   */
  static async open(store: LedgerStore, size: number, requests: readonly EventRequest[], salts: Bytes): Promise<Draft> {
    const idKeys = new Map<string, Bytes>();
    const names = new Set<string>();
    for (const { account, eventId } of requests) {
      names.add(account);
      idKeys.set(eventId, eventIdKey(eventId));
    }
    const keys = [...idKeys.values()];
    for (const account of names) keys.push(accountKey(account));
    const values = await store.getMany(keys);
    const known = new Map<string, () => LoggedEvent>();
    let next = 0;
    for (const id of idKeys.keys()) {
      const index = values[next++];
      if (index === undefined) continue;
      const at = decodeIndex(index);
      const record = at === undefined ? undefined : await store.get(entryKey(at));
      known.set(id, () => openRecord(record, requireIndex(index, `event id ${id}`)));
    }
    const accounts = new Map<string, Uint8Array | undefined>();
    for (const account of names) accounts.set(account, values[next++]);
    return new Draft(size, { known, idKeys, accounts }, salts);
  }

  get events(): readonly LoggedEvent[] {
    return this.#events;
  }

  /** Leaf hashes of the events, one after the other. */
  get leaves(): Bytes {
    const leaves = new Uint8Array(this.#events.length * HASH_LENGTH);
    for (let i = 0; i < this.#events.length; i++) leaves.set((this.#events[i] as LoggedEvent).hash, i * HASH_LENGTH);
    return leaves;
  }

  /** Accounts that the events change, each after its last event. */
  *heads(): Generator<AccountHead> {
    for (const { head, changed } of this.#accounts.values()) if (changed && head !== undefined) yield head;
  }

  /**
   * Adds all `requests` or none. A request with a known `eventId` returns the first result.
   * @throws {MillraceError} E_CONFLICT if an `eventId` is known with other content, E_STATE if an event is not allowed
   *   in this state, E_TOO_LARGE
   */
  add(requests: readonly EventRequest[], time: number): readonly LoggedEvent[] {
    const [only] = requests;
    if (only !== undefined && requests.length === 1) return [this.#addOne(only, time)];
    const heads = new Map<string, AccountHead>();
    const fresh = new Map<string, Fresh>();
    const results: LoggedEvent[] = [];
    for (const request of requests) {
      const { account, eventId } = request;
      const known = fresh.get(eventId)?.logged ?? this.#knownAs(eventId);
      if (known !== undefined) {
        requireSame(known, request);
        results.push(known);
        continue;
      }
      const one = this.#log(request, heads.get(account) ?? this.#draftOf(account).head, time, fresh.size);
      heads.set(account, one.head);
      fresh.set(eventId, one);
      results.push(one.logged);
    }
    for (const one of fresh.values()) this.#keep(one);
    return results;
  }

  /** Like `add`, without the maps that keep the effects of several requests apart from those of the batch. */
  #addOne(request: EventRequest, time: number): LoggedEvent {
    const known = this.#knownAs(request.eventId);
    if (known !== undefined) {
      requireSame(known, request);
      return known;
    }
    const one = this.#log(request, this.#draftOf(request.account).head, time, 0);
    this.#keep(one);
    return one.logged;
  }

  #knownAs(eventId: string): LoggedEvent | undefined {
    return this.#ids.get(eventId) ?? this.#stored.known.get(eventId)?.();
  }

  #keep({ logged, record, head }: Fresh): void {
    this.#draftOf(head.account).advance(head);
    this.#ids.set(logged.event.id, logged);
    this.#events.push(logged);
    this.#records.push(record);
  }

  #draftOf(account: string): AccountDraft {
    const known = this.#accounts.get(account);
    if (known !== undefined) return known;
    const record = this.#stored.accounts.get(account);
    const draft = new AccountDraft(record === undefined ? undefined : decodeAccount(record, account));
    this.#accounts.set(account, draft);
    return draft;
  }

  /** @param ahead number of events that come between those of the batch and this one */
  #log(
    { account, type, actor, body, evidence, eventId: id }: EventRequest,
    before: AccountHead | undefined,
    time: number,
    ahead: number,
  ): Fresh {
    const { kind, state } = nextState(before, account, type);
    const sequence = before === undefined ? 0 : before.sequence + 1;
    const previous = before === undefined ? null : before.hash;
    const base = { v: EVENT_VERSION, id, account, sequence, previous, type, time, actor, body } as const;
    const event: LedgerEvent = evidence === undefined ? base : { ...base, evidence };
    const encoded = encodeRequested(event, this.#encoder);
    const place = this.#events.length + ahead;
    const salt = this.#salts.subarray(place * SALT_LENGTH, (place + 1) * SALT_LENGTH);
    const entry = commitTo(encoded, salt);
    const record = this.#slab.take(ENTRY_LENGTH + SALT_LENGTH + encoded.length);
    record.set(entry);
    record.set(salt, ENTRY_LENGTH);
    record.set(encoded, ENTRY_LENGTH + SALT_LENGTH);
    const [index, hash] = [this.#size + place, leafHash(entry)];
    const logged = { index, event, hash, entry, opening: record.subarray(ENTRY_LENGTH) };
    return { logged, record, head: { account, kind, state, sequence, index, hash } };
  }

  /** Writes for entries, openings and look-up tables. The appender adds tiles and checkpoint. */
  writes(): StoreWrite[] {
    const writes: StoreWrite[] = [];
    for (let i = 0; i < this.#events.length; i++) {
      const { index, event } = this.#events[i] as LoggedEvent;
      writes.push({ put: entryKey(index), value: this.#records[i] as Bytes });
      const idKey = this.#stored.idKeys.get(event.id) ?? eventIdKey(event.id);
      writes.push({ put: idKey, value: encodeIndex(index, this.#slab.take(INDEX_BYTES)) });
    }
    for (const draft of this.#accounts.values()) writes.push(...draft.writes(this.#slab));
    return writes;
  }
}

/** What the store has for the requests of a batch. */
interface Stored {
  /** Opens the event that was recorded under an id. */
  readonly known: ReadonlyMap<string, () => LoggedEvent>;
  /** Keys of the requests' event ids. */
  readonly idKeys: ReadonlyMap<string, Bytes>;
  /** Records of the accounts; undefined for a new one. */
  readonly accounts: ReadonlyMap<string, Uint8Array | undefined>;
}

/** A new event, its record, and its account after it. */
interface Fresh {
  readonly logged: LoggedEvent;
  /** Entry and opening, as they are written. */
  readonly record: Bytes;
  readonly head: AccountHead;
}

/** @throws {MillraceError} E_LEDGER_TRUNCATED if entry or opening are missing, E_LEDGER_ENTRY if they are damaged */
export async function readEvent(store: LedgerStore, index: number): Promise<LoggedEvent> {
  const record = await store.get(entryKey(index));
  return openRecord(record, index);
}

/** @throws {MillraceError} as `readEvent` */
export function openRecord(record: Uint8Array | undefined, index: number): LoggedEvent {
  const missing = (what: string) =>
    new MillraceError('E_LEDGER_TRUNCATED', `${what} ${index} is missing`, { data: { index } });
  if (record === undefined) throw missing('entry');
  const { entry, opening } = decodeRecord(record);
  if (opening === undefined) throw missing('the opening of entry');
  const logged = decodeOpening(opening, index);
  if (equalBytes(logged.entry, entry)) return logged;
  throw new MillraceError('E_LEDGER_ENTRY', `entry ${index} was changed`, { data: { index } });
}

export async function findEvent(store: LedgerStore, eventId: string): Promise<LoggedEvent | undefined> {
  const bytes = await store.get(eventIdKey(eventId));
  return bytes === undefined ? undefined : readEvent(store, requireIndex(bytes, `event id ${eventId}`));
}

function requireSame(known: LoggedEvent, request: EventRequest): void {
  const { v, id, sequence, previous, time } = known.event;
  const { eventId: _, ...fields } = request;
  const same = encodeEvent({ ...fields, v, id, sequence, previous, time });
  if (equalBytes(same, known.opening.subarray(SALT_LENGTH))) return;
  throw new MillraceError('E_CONFLICT', `event id ${id} is entry ${known.index} already, with other content`, {
    data: { eventId: id, index: known.index },
  });
}
