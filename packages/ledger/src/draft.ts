import { type Bytes, equalBytes, MillraceError } from '@millrace/base';
import { type AccountHead, nextState } from './accounts.ts';
import { EVENT_VERSION, type EventRequest, encodeEvent } from './event.ts';
import {
  accountKey,
  decodeHead,
  encodeHead,
  encodeIndex,
  entryKey,
  eventIdKey,
  headKey,
  openingKey,
  requireIndex,
} from './keys.ts';
import { decodeOpening, type LoggedEvent, logEvent, SALT_LENGTH } from './opening.ts';
import type { LedgerStore, StoreWrite } from './store.ts';

/** Collects the events of one batch and checks them against the store and against each other. Writes nothing. */
export class Draft {
  readonly #store: LedgerStore;
  readonly #size: number;
  #salts: Bytes;
  readonly #events: LoggedEvent[] = [];
  readonly #heads = new Map<string, AccountHead>();
  readonly #ids = new Map<string, LoggedEvent>();

  /**
   * @param size number of entries in the log before this batch
   * @param salts 32 random bytes for each request to be added
   */
  constructor(store: LedgerStore, size: number, salts: Bytes) {
    this.#store = store;
    this.#size = size;
    this.#salts = salts;
  }

  get leaves(): readonly Bytes[] {
    return this.#events.map((logged) => logged.hash);
  }

  /**
   * Adds all `requests` or none. A request with a known `eventId` returns the first result.
   * @throws {MillraceError} E_CONFLICT if an `eventId` is known with other content, E_STATE if an event is not allowed
   *   in this state, E_TOO_LARGE
   */
  async add(requests: readonly EventRequest[], time: number): Promise<readonly LoggedEvent[]> {
    const heads = new Map<string, AccountHead>();
    const fresh = new Map<string, LoggedEvent>();
    const results: LoggedEvent[] = [];
    for (const request of requests) {
      const known =
        fresh.get(request.eventId) ?? this.#ids.get(request.eventId) ?? (await findEvent(this.#store, request.eventId));
      if (known !== undefined) {
        requireSame(known, request);
        results.push(known);
        continue;
      }
      const { account, type } = request;
      const head = heads.get(account) ?? this.#heads.get(account) ?? (await readHead(this.#store, account));
      const { eventId: id, ...fields } = request;
      const sequence = head === undefined ? 0 : head.sequence + 1;
      const event = { ...fields, v: EVENT_VERSION, id, sequence, previous: head?.hash ?? null, time } as const;
      const { kind, state } = nextState(head, account, type);
      const index = this.#size + this.#events.length + fresh.size;
      const logged = logEvent(event, this.#salts.subarray(0, SALT_LENGTH), index);
      this.#salts = this.#salts.subarray(SALT_LENGTH);
      heads.set(account, { account, kind, state, sequence, index, hash: logged.hash });
      fresh.set(id, logged);
      results.push(logged);
    }
    for (const [account, head] of heads) this.#heads.set(account, head);
    for (const [id, logged] of fresh) this.#ids.set(id, logged);
    this.#events.push(...fresh.values());
    return results;
  }

  /** Writes for entries, openings and indices. The appender adds tiles and checkpoint. */
  writes(): StoreWrite[] {
    return [
      ...this.#events.flatMap(({ index, event, entry, opening }) => [
        { put: entryKey(index), value: entry },
        { put: openingKey(index), value: opening },
        { put: accountKey(event.account, event.sequence), value: encodeIndex(index) },
        { put: eventIdKey(event.id), value: encodeIndex(index) },
      ]),
      ...[...this.#heads.values()].map((head) => ({ put: headKey(head.account), value: encodeHead(head) })),
    ];
  }
}

/** @throws {MillraceError} E_LEDGER_TRUNCATED if the opening is missing, E_LEDGER_ENTRY if it is damaged */
export async function readEvent(store: LedgerStore, index: number): Promise<LoggedEvent> {
  const opening = await store.get(openingKey(index));
  if (opening === undefined) {
    throw new MillraceError('E_LEDGER_TRUNCATED', `the opening of entry ${index} is missing`, { data: { index } });
  }
  return decodeOpening(opening, index);
}

export async function findEvent(store: LedgerStore, eventId: string): Promise<LoggedEvent | undefined> {
  const bytes = await store.get(eventIdKey(eventId));
  return bytes === undefined ? undefined : readEvent(store, requireIndex(bytes, `event id ${eventId}`));
}

export async function readHead(store: LedgerStore, account: string): Promise<AccountHead | undefined> {
  const bytes = await store.get(headKey(account));
  return bytes === undefined ? undefined : decodeHead(bytes, `head of account ${account}`);
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
