import { type Bytes, equalBytes, MillraceError } from '@millrace/base';
import { AccountDraft, decodeAccount } from './account-record.ts';
import { type AccountHead, nextState } from './accounts.ts';
import { EVENT_VERSION, type EventRequest, encodeEvent, encodeRequested, type LedgerEvent } from './event.ts';
import { EventEncoder } from './event-encoding.ts';
import { accountKey, decodeIndex, encodeIndex, entryKey, eventIdKey, INDEX_BYTES, requireIndex } from './keys.ts';
import { commitTo, decodeOpening, decodeRecord, ENTRY_LENGTH, type LoggedEvent, SALT_LENGTH } from './opening.ts';
import { Slab } from './slab.ts';
import type { LedgerStore, StoreWrite } from './store.ts';
import { leafHash } from './tree.ts';

/** One event of a batch. */
interface Drafted extends LoggedEvent {
  /** Entry and opening, as stored. */
  readonly record: Bytes;
}

/** Collects the events of one batch and checks them against the store and against each other. Writes nothing. */
export class Draft {
  readonly #size: number;
  readonly #known: ReadonlyMap<string, () => LoggedEvent>;
  /** Stored records; undefined for a new account. */
  readonly #records: ReadonlyMap<string, Uint8Array | undefined>;
  readonly #salts: Bytes;
  /** Number of bytes of `#salts` that were used. */
  #salted = 0;
  readonly #encoder = new EventEncoder();
  readonly #slab = new Slab();
  readonly #events: Drafted[] = [];
  readonly #ids = new Map<string, LoggedEvent>();
  readonly #accounts = new Map<string, AccountDraft>();

  private constructor(
    size: number,
    known: ReadonlyMap<string, () => LoggedEvent>,
    records: ReadonlyMap<string, Uint8Array | undefined>,
    salts: Bytes,
  ) {
    this.#size = size;
    this.#known = known;
    this.#records = records;
    this.#salts = salts;
  }

  /**
   * Reads what the requests of a batch refer to. Damaged records are reported by `add`, so that they only affect their
   * own requests.
   * @param size number of entries in the log before this batch
   * @param salts 32 random bytes for each request
   */
  static async open(store: LedgerStore, size: number, requests: readonly EventRequest[], salts: Bytes): Promise<Draft> {
    const accounts = [...new Set(requests.map(({ account }) => account))];
    const keys = requests.map(({ eventId }) => eventIdKey(eventId));
    for (const account of accounts) keys.push(accountKey(account));
    const values = await store.getMany(keys);
    const known = new Map<string, () => LoggedEvent>();
    for (let i = 0; i < requests.length; i++) {
      const [id, index] = [requests[i]?.eventId ?? '', values[i]];
      if (index === undefined) continue;
      const at = decodeIndex(index);
      const record = at === undefined ? undefined : await store.get(entryKey(at));
      known.set(id, () => openRecord(record, requireIndex(index, `event id ${id}`)));
    }
    const records = new Map(accounts.map((account, i) => [account, values[requests.length + i]]));
    return new Draft(size, known, records, salts);
  }

  /** Number of events. */
  get size(): number {
    return this.#events.length;
  }

  get events(): readonly LoggedEvent[] {
    return this.#events;
  }

  get leaves(): readonly Bytes[] {
    return this.#events.map(({ hash }) => hash);
  }

  /**
   * Adds all `requests` or none. A request with a known `eventId` returns the first result.
   * @throws {MillraceError} E_CONFLICT if an `eventId` is known with other content, E_STATE if an event is not allowed
   *   in this state, E_TOO_LARGE
   */
  add(requests: readonly EventRequest[], time: number): readonly LoggedEvent[] {
    const heads = new Map<string, AccountHead>();
    const fresh = new Map<string, { readonly logged: Drafted; readonly head: AccountHead }>();
    const results: LoggedEvent[] = [];
    const first = this.#size + this.#events.length;
    for (const request of requests) {
      const { account, eventId } = request;
      const known = fresh.get(eventId)?.logged ?? this.#ids.get(eventId) ?? this.#known.get(eventId)?.();
      if (known !== undefined) {
        requireSame(known, request);
        results.push(known);
        continue;
      }
      const before = heads.get(account) ?? this.#draftOf(account).head;
      const { kind, state } = nextState(before, account, request.type);
      const sequence = before === undefined ? 0 : before.sequence + 1;
      const logged = this.#log(request, sequence, before?.hash ?? null, time, first + fresh.size);
      const head = { account, kind, state, sequence, index: logged.index, hash: logged.hash };
      heads.set(account, head);
      fresh.set(eventId, { logged, head });
      results.push(logged);
    }
    for (const [id, { logged, head }] of fresh) {
      this.#draftOf(head.account).advance(head);
      this.#ids.set(id, logged);
      this.#events.push(logged);
    }
    return results;
  }

  #draftOf(account: string): AccountDraft {
    const known = this.#accounts.get(account);
    if (known !== undefined) return known;
    const record = this.#records.get(account);
    const draft = new AccountDraft(record === undefined ? undefined : decodeAccount(record, account));
    this.#accounts.set(account, draft);
    return draft;
  }

  #log(
    { account, type, actor, body, evidence, eventId: id }: EventRequest,
    sequence: number,
    previous: Bytes | null,
    time: number,
    index: number,
  ): Drafted {
    const base = { v: EVENT_VERSION, id, account, sequence, previous, type, time, actor, body } as const;
    const event: LedgerEvent = evidence === undefined ? base : { ...base, evidence };
    const encoded = encodeRequested(event, this.#encoder);
    const salt = this.#salts.subarray(this.#salted, this.#salted + SALT_LENGTH);
    this.#salted += SALT_LENGTH;
    const entry = commitTo(encoded, salt);
    const record = this.#slab.take(ENTRY_LENGTH + SALT_LENGTH + encoded.length);
    record.set(entry);
    record.set(salt, ENTRY_LENGTH);
    record.set(encoded, ENTRY_LENGTH + SALT_LENGTH);
    return { index, event, hash: leafHash(entry), entry, opening: record.subarray(ENTRY_LENGTH), record };
  }

  /** Writes for entries, openings and look-up tables. The appender adds tiles and checkpoint. */
  writes(): StoreWrite[] {
    const writes: StoreWrite[] = [];
    for (const { index, event, record } of this.#events) {
      writes.push({ put: entryKey(index), value: record });
      writes.push({ put: eventIdKey(event.id), value: encodeIndex(index, this.#slab.take(INDEX_BYTES)) });
    }
    for (const draft of this.#accounts.values()) writes.push(...draft.writes(this.#slab));
    return writes;
  }
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
