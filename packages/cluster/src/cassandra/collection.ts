import {
  type Bytes,
  type Clock,
  compareBytes,
  concatBytes,
  type KeyedMutex,
  MillraceError,
  u64be,
  utf8,
} from '@millrace/base';
import type { Collection, IndexFunction, Page, PageOptions, RecordEntry, Swap } from '@millrace/stores';
import {
  checkCursor,
  checkLimit,
  checkOrder,
  groupKey,
  inRange,
  keyText,
  noIndex,
  prefixRange,
  recordKey,
  sameValue,
} from '@millrace/stores/engine';
import { decide, nextClaims } from './decision.ts';
import type { Level, Session, Value } from './session.ts';

/** Longest record, bytes. */
const MAX_VALUE = 4 * 2 ** 20;
/** How long a deleted record keeps its claims, seconds: a deletion or a creation that arrives later is not settled. */
const TOMBSTONE_SECONDS = 86_400;
/** Age from which an index entry without a record is a leftover of an interrupted creation, microseconds. */
const LEFTOVER = 3_600_000_000n;
const NO_GROUP = new Uint8Array();
const KEY_ORDER = '';

export interface CollectionParts {
  readonly session: Session;
  readonly name: string;
  readonly indexes: ReadonlyMap<string, IndexFunction>;
  readonly keys: KeyedMutex;
  readonly clock: Clock;
  readonly isOpen: () => boolean;
}

/** A row of `records`. A deleted record has no value. */
interface Stored {
  readonly value: Bytes | undefined;
  readonly claims: Bytes | undefined;
  /** Microseconds since 1970, raised by every change; also the timestamp of the entries that belong to the value. */
  readonly version: bigint;
}

/** A position in an index. */
interface Position {
  readonly index: string;
  readonly group: Bytes;
  readonly order: bigint;
}

/**
 * A collection in the tables `records` and `positions`. Only `records` decides. A change writes the record's new entries,
 * then the record, then removes the entries that it no longer has. A page leaves out entries that the record does not
 * confirm, and removes them. Entries carry the version of their record as timestamp, so a late removal does not touch
 * an entry that a later change wrote again.
 */
export class CassandraCollection implements Collection {
  readonly #parts: CollectionParts;
  #indexed: Promise<void> | undefined;

  constructor(parts: CollectionParts) {
    this.#parts = parts;
  }

  async get(key: string): Promise<Bytes | undefined> {
    return (await this.#read(recordKey(key), 'serial')).value;
  }

  async put(key: string, value: Uint8Array): Promise<void> {
    await this.#replace(key, value);
  }

  async delete(key: string): Promise<void> {
    await this.#replace(key, undefined);
  }

  async compareAndSwap(key: string, expected: Uint8Array | undefined, next: Uint8Array | undefined): Promise<Swap> {
    const at = recordKey(key);
    await this.#ready();
    return this.#parts.keys.run(`${this.#parts.name}/${key}`, async () => {
      const current = await this.#read(at, 'quorum');
      if (!sameValue(current.value, expected)) return 'refused';
      return this.#change(at, current, next);
    });
  }

  async page(options: PageOptions): Promise<Page> {
    const { limit, index, group, prefix = '', after, below, reverse = false } = options;
    checkLimit(limit);
    if (index === undefined) {
      checkCursor(after, 'key');
      const { gte, lt } = prefixRange(utf8(prefix));
      const end = lt && concatBytes(u64be(0n), lt);
      const cursor = after && concatBytes(u64be(0n), after);
      const bounds = between({ low: concatBytes(u64be(0n), gte), high: end }, cursor, reverse);
      return this.#page({ index: KEY_ORDER, group: NO_GROUP, ...bounds, limit, reverse }, cursorOfKey);
    }
    if (!this.#parts.indexes.has(index) || group === undefined) throw noIndex(this.#parts.name, index);
    checkCursor(after, 'index');
    if (below !== undefined) checkOrder(below);
    await this.#ready();
    const high = below === undefined ? undefined : u64be(BigInt(below));
    const bounds = between({ low: u64be(0n), high }, after, reverse);
    return this.#page({ index, group: groupKey(group), ...bounds, limit, reverse }, cursorOfEntry);
  }

  async #page(query: EntryQuery, cursorOf: (order: bigint, key: Uint8Array) => Bytes): Promise<Page> {
    const found = await this.#entries({ ...query, limit: query.limit + 1 });
    const kept = found.slice(0, query.limit);
    const records = await Promise.all(kept.map(({ key }) => this.#read(key, 'quorum')));
    const entries: RecordEntry[] = [];
    const leftovers: Promise<void>[] = [];
    for (const [i, { order, key }] of kept.entries()) {
      const record = records[i] as Stored;
      const position = { index: query.index, group: query.group, order };
      if (record.value !== undefined && this.#confirms(record.value, position))
        entries.push({ key: keyText(key), value: record.value });
      else leftovers.push(this.#removeEntry(position, key, record.version || this.#now() - LEFTOVER));
    }
    await Promise.allSettled(leftovers);
    const last = found.length > query.limit ? kept.at(-1) : undefined;
    return last === undefined ? { entries } : { entries, next: cursorOf(last.order, last.key) };
  }

  async #replace(key: string, next: Uint8Array | undefined): Promise<void> {
    const at = recordKey(key);
    await this.#ready();
    await this.#parts.keys.run(`${this.#parts.name}/${key}`, async () => {
      for (;;) {
        const current = await this.#read(at, 'quorum');
        if (current.value === undefined && next === undefined) return;
        const swap = await this.#change(at, current, next);
        if (swap === 'applied') return;
        if (swap === 'unknown')
          throw new MillraceError('E_TIMEOUT', `whether record ${key} was written is not known: the cluster is silent`);
      }
    });
  }

  async #change(key: Bytes, current: Stored, next: Uint8Array | undefined): Promise<Swap> {
    if (next !== undefined && next.length > MAX_VALUE)
      throw new MillraceError('E_TOO_LARGE', `a record has at most ${MAX_VALUE} bytes, not ${next.length}`);
    const { session, name } = this.#parts;
    const version = current.version >= this.#now() ? current.version + 1n : this.#now();
    const after = next === undefined ? [] : this.#positions(next);
    let before: Position[] = [];
    try {
      before = current.value === undefined ? [] : this.#positions(current.value);
    } catch {} // The record is damaged. Pages leave out the entries that it had.
    const added = after.filter((each) => !before.some((other) => samePosition(each, other)));
    await Promise.all(added.map((position) => this.#addEntry(position, key, version)));
    const claims = nextClaims(current.claims);
    const ttl = next === undefined ? `USING TTL ${TOMBSTONE_SECONDS}` : '';
    const statement = `UPDATE records ${ttl} SET value = ?, claims = ?, version = ?
      WHERE collection = ? AND key = ? IF claims = ?`;
    const values: Value[] = [next ?? null, claims, version, name, key, current.claims ?? null];
    const swap = await decide({
      before: current.claims,
      after: claims,
      send: () => session.send(statement, values),
      read: async () => (await this.#read(key, 'serial')).claims,
      patienceMs: session.patienceMs,
    });
    if (swap !== 'applied') return swap;
    const removed = before.filter((each) => !after.some((other) => samePosition(each, other)));
    // A page removes what stays.
    await Promise.allSettled(removed.map((position) => this.#removeEntry(position, key, version)));
    return swap;
  }

  /** The record's positions in the order of keys and in every index. @throws {MillraceError} E_INPUT */
  #positions(value: Uint8Array): Position[] {
    const positions: Position[] = [{ index: KEY_ORDER, group: NO_GROUP, order: 0n }];
    for (const [index, entriesOf] of this.#parts.indexes)
      for (const { group, order = 0 } of entriesOf(value)) {
        checkOrder(order);
        positions.push({ index, group: groupKey(group), order: BigInt(order) });
      }
    return positions;
  }

  #confirms(value: Bytes, position: Position): boolean {
    if (position.index === KEY_ORDER) return true;
    const entriesOf = this.#parts.indexes.get(position.index);
    try {
      return (entriesOf?.(value) ?? []).some(
        ({ group, order = 0 }) => BigInt(order) === position.order && sameValue(utf8(group), position.group),
      );
    } catch {
      return true; // damaged: the reader detects it
    }
  }

  async #read(key: Uint8Array, level: Level): Promise<Stored> {
    const { session, name, isOpen } = this.#parts;
    if (!isOpen()) throw new MillraceError('E_STORE', 'the store is closed');
    const statement = 'SELECT value, claims, version FROM records WHERE collection = ? AND key = ?';
    const [row] = await session.run(statement, [name, key], { level });
    return { value: bytesOf(row?.value), claims: bytesOf(row?.claims), version: (row?.version as bigint | null) ?? 0n };
  }

  async #entries({ index, group, low, high, limit, reverse }: EntryQuery): Promise<{ order: bigint; key: Bytes }[]> {
    const { session, name, isOpen } = this.#parts;
    if (!isOpen()) throw new MillraceError('E_STORE', 'the store is closed');
    const direction = reverse ? 'DESC' : 'ASC';
    const statement = `SELECT ord, key FROM positions WHERE collection = ? AND idx = ? AND grp = ?
      AND (ord, key) ${low.open ? '>' : '>='} (?, ?) ${high ? 'AND (ord, key) < (?, ?)' : ''}
      ORDER BY ord ${direction}, key ${direction} LIMIT ?`;
    const bounds = [low.at, ...(high ? [high] : [])].flatMap((at) => [orderOf(at), at.subarray(8)]);
    const rows = await session.run(statement, [name, index, group, ...bounds, limit]);
    return rows.map((row) => ({ order: row.ord as bigint, key: new Uint8Array(row.key) }));
  }

  async #addEntry({ index, group, order }: Position, key: Uint8Array, version: bigint): Promise<void> {
    const statement = 'INSERT INTO positions (collection, idx, grp, ord, key) VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?';
    await this.#parts.session.run(statement, [this.#parts.name, index, group, order, key, version]);
  }

  async #removeEntry({ index, group, order }: Position, key: Uint8Array, version: bigint): Promise<void> {
    const statement = `DELETE FROM positions USING TIMESTAMP ?
      WHERE collection = ? AND idx = ? AND grp = ? AND ord = ? AND key = ?`;
    await this.#parts.session.run(statement, [version, this.#parts.name, index, group, order, key]);
  }

  /** Microseconds since 1970. */
  #now(): bigint {
    return BigInt(Math.trunc(this.#parts.clock.now())) * 1_000n;
  }

  #ready(): Promise<void> {
    if (this.#parts.indexes.size === 0) return Promise.resolve();
    this.#indexed ??= this.#index().catch((error: unknown) => {
      this.#indexed = undefined;
      throw error;
    });
    return this.#indexed;
  }

  /** Adds the entries of all records if the indexes of the collection differ from the declared ones. */
  async #index(): Promise<void> {
    const { session, name, indexes } = this.#parts;
    const declared = [...indexes.keys()].sort().join(',');
    const [row] = await session.run('SELECT indexes FROM collections WHERE collection = ?', [name]);
    if (row?.indexes === declared) return;
    let low: Bound | undefined = { at: u64be(0n), open: false };
    while (low !== undefined) {
      const query: EntryQuery = { index: KEY_ORDER, group: NO_GROUP, low, high: undefined, limit: 500, reverse: false };
      const found: { order: bigint; key: Bytes }[] = await this.#entries(query);
      await Promise.all(found.map(({ key }) => this.#indexRecord(key)));
      const last: { key: Bytes } | undefined = found.at(-1);
      low = last && { at: concatBytes(u64be(0n), last.key), open: true };
    }
    await session.run('INSERT INTO collections (collection, indexes) VALUES (?, ?)', [name, declared]);
  }

  async #indexRecord(key: Bytes): Promise<void> {
    const { value, version } = await this.#read(key, 'quorum');
    if (value === undefined) return;
    let positions: Position[] = [];
    try {
      positions = this.#positions(value);
    } catch {} // damaged: not in any index
    await Promise.all(positions.map((position) => this.#addEntry(position, key, version)));
  }
}

/** A bound of (order, key): order[8] ‖ key. */
interface Bound {
  readonly at: Bytes;
  /** Whether the bound itself is left out. */
  readonly open: boolean;
}

interface EntryQuery {
  readonly index: string;
  readonly group: Bytes;
  readonly low: Bound;
  /** Left out itself. */
  readonly high: Bytes | undefined;
  readonly limit: number;
  readonly reverse: boolean;
}

/** The part of a range that follows `after` in the direction of reading. A cursor outside the range is ignored. */
function between(
  { low, high }: { low: Bytes; high: Bytes | undefined },
  after: Uint8Array | undefined,
  reverse: boolean,
): Pick<EntryQuery, 'low' | 'high'> {
  const whole = { low: { at: low, open: false }, high };
  if (after === undefined || !inRange(after, { gte: low, ...(high && { lt: high }) })) return whole;
  const at = new Uint8Array(after);
  return reverse ? { ...whole, high: at } : { ...whole, low: { at, open: true } };
}

function samePosition(a: Position, b: Position): boolean {
  return a.index === b.index && a.order === b.order && compareBytes(a.group, b.group) === 0;
}

function orderOf(at: Uint8Array): bigint {
  return new DataView(at.buffer, at.byteOffset).getBigUint64(0);
}

const cursorOfKey = (_order: bigint, key: Uint8Array): Bytes => new Uint8Array(key);
const cursorOfEntry = (order: bigint, key: Uint8Array): Bytes => concatBytes(u64be(order), key);
const bytesOf = (value: unknown): Bytes | undefined =>
  value instanceof Uint8Array ? new Uint8Array(value) : undefined;
