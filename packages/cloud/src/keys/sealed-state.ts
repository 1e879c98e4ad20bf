import { type Bytes, concatBytes, equalBytes, hkdf, MillraceError, systemRandom, utf8, wipe } from '@millrace/base';
import type { Collection, Entry, Log, RecordStore, Write } from '@millrace/stores';
import { type KeyWrapper, openWith, sealWith } from '@millrace/vault';

// The state of a keys node in a cluster, whose servers are not trusted with it (docs/adr/0098). Values are sealed under
// a data key, which is wrapped under the node's key-encrypting key and stored beside them. Keys of records, names of
// collections and positions in indexes are in clear.

const KEY_BYTES = 32;
const SALT_BYTES = 16;
const CONTEXT = utf8('millrace/v1/keys-state/data-key');

export interface SealedState {
  records(store: RecordStore): RecordStore;
  log(log: Log, name: string): Log;
  /** Wipes the data key. */
  close(): void;
}

/**
 * Opens the data key, or makes it if the keyspace is new.
 * @param store where the wrapped key is
 * @throws {MillraceError} E_SEAL if another node wrapped it, or if it was altered; as the store
 */
export async function openSealedState(store: RecordStore, wrapper: KeyWrapper): Promise<SealedState> {
  const key = await openDataKey(store.collection('data-key'), wrapper);
  return {
    records: (inner) => new SealedRecords(inner, key),
    log: (inner, name) => sealedLog(inner, new Sealing(key, `log/${name}`)),
    close: () => wipe(key),
  };
}

async function openDataKey(collection: Collection, wrapper: KeyWrapper): Promise<Bytes> {
  for (;;) {
    const wrapped = await collection.get('key');
    if (wrapped !== undefined) return wrapper.unwrap(wrapped, CONTEXT);
    const key = systemRandom(KEY_BYTES);
    // Another replica may make one at the same time, and the outcome may be unknown: the stored one counts.
    await collection.compareAndSwap('key', undefined, await wrapper.wrap(key, CONTEXT)).finally(() => wipe(key));
  }
}

/** salt(16) ‖ nonce(12) ‖ AES-256-GCM ciphertext ‖ tag(16), under a key derived from the data key, the salt and the place. */
class Sealing {
  readonly #key: Bytes;
  readonly #info: Bytes;

  constructor(key: Bytes, place: string) {
    this.#key = key;
    this.#info = utf8(`millrace/v1/keys-state/${place}`);
  }

  seal(value: Uint8Array, context: Uint8Array): Bytes {
    const salt = systemRandom(SALT_BYTES);
    const derived = hkdf([this.#key], salt, this.#info);
    try {
      return concatBytes(salt, sealWith(derived, value, context, systemRandom));
    } finally {
      wipe(derived);
    }
  }

  /** @throws {MillraceError} E_STORE */
  open(sealed: Uint8Array, context: Uint8Array): Bytes {
    const derived = hkdf([this.#key], sealed.subarray(0, SALT_BYTES), this.#info);
    try {
      return openWith(derived, sealed.subarray(SALT_BYTES), context);
    } catch (cause) {
      throw new MillraceError('E_STORE', 'a value of this node in the cluster was altered', { cause });
    } finally {
      wipe(derived);
    }
  }
}

class SealedRecords implements RecordStore {
  readonly #inner: RecordStore;
  readonly #key: Bytes;

  constructor(inner: RecordStore, key: Bytes) {
    this.#inner = inner;
    this.#key = key;
  }

  collection(name: string, options: Parameters<RecordStore['collection']>[1] = {}): Collection {
    const sealing = new Sealing(this.#key, `records/${name}`);
    const indexes = Object.entries(options.indexes ?? {}).map(
      ([index, entries]) => [index, (sealed: Uint8Array) => entries(unpack(sealing, sealed).value)] as const,
    );
    const inner = this.#inner.collection(name, { ...options, indexes: Object.fromEntries(indexes) });
    return sealedCollection(inner, sealing);
  }

  collections(): Promise<string[]> {
    return this.#inner.collections();
  }

  close(): Promise<void> {
    return this.#inner.close();
  }
}

/** The key of a record is sealed with its value, because an index sees values only. */
function unpack(sealing: Sealing, sealed: Uint8Array): { key: string; value: Bytes } {
  const plain = sealing.open(sealed, new Uint8Array());
  const length = plain[0] ?? 0;
  return { key: new TextDecoder().decode(plain.subarray(1, 1 + length)), value: plain.slice(1 + length) };
}

function sealedCollection(inner: Collection, sealing: Sealing): Collection {
  const pack = (key: string, value: Uint8Array): Bytes => {
    const name = utf8(key);
    return sealing.seal(concatBytes(Uint8Array.of(name.length), name, value), new Uint8Array());
  };
  const open = (key: string, sealed: Uint8Array): Bytes => {
    const found = unpack(sealing, sealed);
    if (found.key !== key)
      throw new MillraceError('E_STORE', `the record ${key} in the cluster was exchanged with ${found.key}`);
    return found.value;
  };
  return {
    async get(key) {
      const sealed = await inner.get(key);
      return sealed && open(key, sealed);
    },
    put: async (key, value) => inner.put(key, pack(key, value)),
    delete: (key) => inner.delete(key),
    async compareAndSwap(key, expected, next) {
      const sealed = await inner.get(key);
      const found = sealed && open(key, sealed);
      const isExpected =
        found === undefined || expected === undefined ? found === expected : equalBytes(found, expected);
      if (!isExpected) return 'refused';
      return inner.compareAndSwap(key, sealed, next && pack(key, next));
    },
    async page(options) {
      const { entries, next } = await inner.page(options);
      return {
        entries: entries.map(({ key, value }) => ({ key, value: open(key, value) })),
        ...(next && { next }),
      };
    },
  };
}

function sealedLog(inner: Log, sealing: Sealing): Log {
  const open = (key: Uint8Array, sealed: Bytes | undefined): Bytes | undefined => sealed && sealing.open(sealed, key);
  const seal = (write: Write): Write =>
    'put' in write ? { put: write.put, value: sealing.seal(write.value, write.put) } : write;
  return {
    get: async (key) => open(key, await inner.get(key)),
    getMany: async (keys) => {
      const found = await inner.getMany(keys);
      return keys.map((key, i) => open(key, found[i]));
    },
    async *range(options) {
      for await (const { key, value } of inner.range(options))
        yield { key, value: sealing.open(value, key) } satisfies Entry;
    },
    async acquire() {
      const writer = await inner.acquire();
      return { token: writer.token, append: (writes) => writer.append(writes.map(seal)) };
    },
    close: () => inner.close(),
  };
}
