import { type Bytes, compareBytes, concatBytes, MillraceError, toHex, u64be, utf8 } from '@millrace/base';
import { inRange, prefixRange, sameValue } from './keys.ts';
import type { Range, Swap, TransactionalStore, Write } from './port.ts';
import {
  checkCursor,
  checkLimit,
  checkNames,
  checkOrder,
  groupKey,
  keyText,
  noIndex,
  recordKey,
} from './record-checks.ts';
import type {
  Collection,
  CollectionOptions,
  IndexFunction,
  Page,
  PageOptions,
  RecordEntry,
  RecordStore,
} from './records.ts';

/** Writes per transaction while indexes are rebuilt. */
const BATCH = 1_000;
const [SLASH, COLON] = [0x2f, 0x3a];

/**
 * Collections in one ordered map. A record has the key `COLLECTION/KEY`. Its entry in an index has the key
 * `COLLECTION:INDEX/` group length[1] group order[8] KEY and the record's key as value. Record and entry are written in
 * one transaction. `COLLECTION:` holds the names of the complete indexes.
 */
export class MapRecords implements RecordStore {
  readonly #map: TransactionalStore;

  constructor(map: TransactionalStore) {
    this.#map = map;
  }

  collection(name: string, { indexes = {} }: CollectionOptions = {}): Collection {
    checkNames([name, ...Object.keys(indexes)]);
    return new MapCollection(this.#map, name, new Map(Object.entries(indexes)));
  }

  async collections(): Promise<string[]> {
    const names: string[] = [];
    for (let from: Bytes | undefined = new Uint8Array(); from !== undefined; ) {
      const range: Range = from.length === 0 ? { limit: 1 } : { gte: from, limit: 1 };
      from = undefined;
      for await (const { key } of this.#map.range(range)) {
        const end = key.findIndex((byte) => byte === SLASH || byte === COLON);
        if (end < 0) throw new MillraceError('E_STORE', 'the store has a key that belongs to no collection');
        const isRecord = key[end] === SLASH;
        if (isRecord) names.push(keyText(key.subarray(0, end)));
        // Continue behind this collection's records, or behind its indexes.
        from = concatBytes(key.subarray(0, end), Uint8Array.of((isRecord ? SLASH : COLON) + 1));
      }
    }
    return names.sort();
  }

  close(): Promise<void> {
    return this.#map.close();
  }
}

class MapCollection implements Collection {
  readonly #map: TransactionalStore;
  readonly #name: string;
  readonly #indexes: ReadonlyMap<string, IndexFunction>;
  readonly #prefix: Bytes;
  #indexed: Promise<void> | undefined;

  constructor(map: TransactionalStore, name: string, indexes: ReadonlyMap<string, IndexFunction>) {
    this.#map = map;
    this.#name = name;
    this.#indexes = indexes;
    this.#prefix = utf8(`${name}/`);
  }

  async get(key: string): Promise<Bytes | undefined> {
    return this.#map.get(this.#key(key));
  }

  async put(key: string, value: Uint8Array): Promise<void> {
    if (this.#indexes.size === 0) return this.#map.put(this.#key(key), value);
    await this.#replace(key, value);
  }

  async delete(key: string): Promise<void> {
    if (this.#indexes.size === 0) return this.#map.delete(this.#key(key));
    await this.#replace(key, undefined);
  }

  async compareAndSwap(key: string, expected: Uint8Array | undefined, next: Uint8Array | undefined): Promise<Swap> {
    const at = this.#key(key);
    if (this.#indexes.size === 0) return this.#map.compareAndSwap(at, expected, next);
    await this.#ready();
    return this.#map.swap(at, expected, next, await this.#indexWrites(key, expected, next));
  }

  async page(options: PageOptions): Promise<Page> {
    const { limit, index, group } = options;
    checkLimit(limit);
    if (index === undefined) return this.#pageByKey(options);
    const entriesOf = this.#indexes.get(index);
    if (entriesOf === undefined || group === undefined) throw noIndex(this.#name, index);
    await this.#ready();
    return this.#pageByIndex(options, entriesOf, this.#groupPrefix(index, group));
  }

  async #pageByKey({ limit, prefix = '', after, reverse = false }: PageOptions): Promise<Page> {
    checkCursor(after, 'key');
    const range = between(concatBytes(this.#prefix, utf8(prefix)), after && concatBytes(this.#prefix, after), reverse);
    const entries: RecordEntry[] = [];
    for await (const { key, value } of this.#map.range({ ...range, limit: limit + 1 }))
      entries.push({ key: keyText(key.subarray(this.#prefix.length)), value });
    if (entries.length <= limit) return { entries };
    const kept = entries.slice(0, limit);
    return { entries: kept, next: utf8(kept.at(-1)?.key ?? '') };
  }

  async #pageByIndex(
    { limit, group, below, after, reverse = false }: PageOptions,
    entriesOf: IndexFunction,
    prefix: Bytes,
  ): Promise<Page> {
    checkCursor(after, 'index');
    const range = between(prefix, after && concatBytes(prefix, after), reverse);
    const bound = below === undefined ? undefined : concatBytes(prefix, orderBytes(below));
    if (bound !== undefined && (range.lt === undefined || compareBytes(bound, range.lt) < 0)) range.lt = bound;
    const found: { cursor: Bytes; key: Bytes }[] = [];
    for await (const { key, value } of this.#map.range({ ...range, limit: limit + 1 }))
      found.push({ cursor: key.slice(prefix.length), key: value });
    const kept = found.slice(0, limit);
    const values = await this.#map.getMany(kept.map(({ key }) => concatBytes(this.#prefix, key)));
    const entries: RecordEntry[] = [];
    for (const [i, { key }] of kept.entries()) {
      const value = values[i];
      // The record may have changed since the index was read.
      if (value !== undefined && names(entriesOf, value, group)) entries.push({ key: keyText(key), value });
    }
    const last = found.length > limit ? kept.at(-1) : undefined;
    return last === undefined ? { entries } : { entries, next: last.cursor };
  }

  async #replace(key: string, next: Uint8Array | undefined): Promise<void> {
    const at = this.#key(key);
    await this.#ready();
    for (;;) {
      const current = await this.#map.get(at);
      const swap = await this.#map.swap(at, current, next, await this.#indexWrites(key, current, next));
      if (swap === 'applied') return;
    }
  }

  /** Index writes that a change of a record requires. */
  async #indexWrites(key: string, before: Uint8Array | undefined, after: Uint8Array | undefined): Promise<Write[]> {
    const writes: Write[] = [];
    const value = utf8(key);
    for (const [index, entriesOf] of this.#indexes) {
      const put = new Map(this.#entryKeys(index, entriesOf, key, after));
      let old: (readonly [string, Bytes])[];
      try {
        old = this.#entryKeys(index, entriesOf, key, before);
      } catch {
        old = await this.#entriesThatName(index, value); // the record is damaged, so its old entries are unknown
      }
      for (const [name, entry] of old) if (!put.delete(name)) writes.push({ delete: entry });
      for (const entry of put.values()) writes.push({ put: entry, value });
    }
    return writes;
  }

  #entryKeys(
    index: string,
    entriesOf: IndexFunction,
    key: string,
    value: Uint8Array | undefined,
  ): (readonly [string, Bytes])[] {
    if (value === undefined) return [];
    return entriesOf(value).map(({ group, order = 0 }) => {
      const entry = concatBytes(this.#groupPrefix(index, group), orderBytes(order), utf8(key));
      return [toHex(entry), entry] as const;
    });
  }

  async #entriesThatName(index: string, record: Bytes): Promise<(readonly [string, Bytes])[]> {
    const found: (readonly [string, Bytes])[] = [];
    for await (const { key, value } of this.#map.range(prefixRange(utf8(`${this.#name}:${index}/`))))
      if (sameValue(value, record)) found.push([toHex(key), key]);
    return found;
  }

  #ready(): Promise<void> {
    this.#indexed ??= this.#index().catch((error: unknown) => {
      this.#indexed = undefined;
      throw error;
    });
    return this.#indexed;
  }

  /** Rebuilds the indexes of the collection if they differ from the declared ones. */
  async #index(): Promise<void> {
    const complete = utf8(`${this.#name}:`);
    const declared = utf8([...this.#indexes.keys()].sort().join(','));
    if (sameValue(await this.#map.get(complete), declared)) return;
    const writer = new BatchWriter(this.#map);
    // The lowest key marks the indexes as complete, so it is removed first.
    for await (const { key } of this.#map.range(prefixRange(complete))) await writer.add({ delete: key });
    for await (const { key, value } of this.#map.range(prefixRange(this.#prefix))) {
      const record = keyText(key.subarray(this.#prefix.length));
      for (const [index, entriesOf] of this.#indexes) {
        let entries: (readonly [string, Bytes])[] = [];
        try {
          entries = this.#entryKeys(index, entriesOf, record, value);
        } catch {} // damaged: not in any index
        for (const [, entry] of entries) await writer.add({ put: entry, value: utf8(record) });
      }
    }
    await writer.add({ put: complete, value: declared });
    await writer.flush();
  }

  #key(key: string): Bytes {
    return concatBytes(this.#prefix, recordKey(key));
  }

  #groupPrefix(index: string, group: string): Bytes {
    const bytes = groupKey(group);
    return concatBytes(utf8(`${this.#name}:${index}/`), Uint8Array.of(bytes.length), bytes);
  }
}

class BatchWriter {
  readonly #map: TransactionalStore;
  #writes: Write[] = [];

  constructor(map: TransactionalStore) {
    this.#map = map;
  }

  async add(write: Write): Promise<void> {
    this.#writes.push(write);
    if (this.#writes.length >= BATCH) await this.flush();
  }

  async flush(): Promise<void> {
    await this.#map.batch(this.#writes);
    this.#writes = [];
  }
}

/** Range of the keys with a prefix that follow `after` in the direction of reading. */
function between(
  prefix: Bytes,
  after: Bytes | undefined,
  reverse: boolean,
): { -readonly [K in keyof Range]: Range[K] } {
  const { gte, lt } = prefixRange(prefix);
  const end = lt === undefined ? {} : { lt };
  // A forged cursor must not leave the prefix.
  const inside = after !== undefined && inRange(after, { gte, ...end });
  if (!inside) return { gte, ...end, reverse };
  return reverse ? { gte, lt: after, reverse } : { gt: after, ...end, reverse };
}

function names(entriesOf: IndexFunction, value: Bytes, group: string | undefined): boolean {
  try {
    return entriesOf(value).some((entry) => entry.group === group);
  } catch {
    return true; // damaged: the reader detects it
  }
}

function orderBytes(order: number): Bytes {
  checkOrder(order);
  return u64be(BigInt(order));
}
